"""The camera frame nearest to a time, found without decoding all the others."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

from eventsam.io.recording import Frame

MAX_HELD = 4
"""Decoded frames that are kept: a video asks for the same ones again and again."""


class NearestFrames:
    """Looks up frames by time. Frames are decoded on demand and only their times are remembered."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        """Take frames in time order; none of them is decoded yet."""
        self._frames = frames
        self._times: dict[int, int] = {}
        self._read = lru_cache(maxsize=MAX_HELD)(frames.__getitem__)
        self._later = 0

    def at(self, t_us: int) -> Frame | None:
        """Return the frame nearest to `t_us` (the earlier of two equally near); None where there are none."""
        if not len(self._frames):
            return None
        self._later = self._first_later(t_us)
        around = [number for number in (self._later - 1, self._later) if 0 <= number < len(self._frames)]
        return self._read(min(around, key=lambda number: abs(self._time(number) - t_us)))

    def _first_later(self, t_us: int) -> int:
        """Return the number of the first frame after a time: near where the last question ended, else by halves."""
        low, high, step = 0, len(self._frames), 1
        if self._later and self._time(self._later - 1) <= t_us:
            low = self._later
            while low + step - 1 < high and self._time(low + step - 1) <= t_us:
                low, step = low + step, 2 * step
            high = min(high, low + step)
        return bisect_right(range(high), t_us, lo=low, key=self._time)

    def _time(self, number: int) -> int:
        if number not in self._times:
            self._times[number] = self._read(number).t_us
        return self._times[number]
