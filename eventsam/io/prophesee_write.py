"""Writing Prophesee files: header, then words, with the times that do not fit told in the header."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.prophesee_header import write_header
from eventsam.io.prophesee_time import shift_lines

Encode = Callable[[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64], NDArray[np.uint8]], NDArray[Any]]
"""encode(x, y, t, p) -> words of events that follow those of the call before; times as the file holds them."""


@dataclass(frozen=True)
class WordLayout:
    """How one format is written, and what it can hold.

    Coordinates lie below `max_side`. A first event before 0 or from `end_t_us` on gets an offset, a pause of
    `max_pause_us` or more a line in the header. `before_words` stands between header and words.
    """

    title: str
    max_side: int
    end_t_us: int
    max_pause_us: int
    header_lines: Callable[[int, int], Sequence[tuple[str, str]]]
    with_end: bool
    before_words: bytes
    encoder: Callable[[], Encode]


def write_words(path: Path, chunks: Iterable[Events], height: int, width: int, layout: WordLayout) -> None:
    """Write events that follow each other in time, lossless for every int64 time.

    Raises ValueError for a sensor too large for the format and for events of another sensor or out of order.
    """
    if max(height, width) > layout.max_side:
        raise ValueError(
            f"{layout.title} holds sensors up to {layout.max_side} pixels a side, given height {height}, width {width}"
        )
    times, encode = StoredTimes(layout.end_t_us, layout.max_pause_us), layout.encoder()

    def header() -> bytes:
        lines = [*layout.header_lines(height, width), *shift_lines(times.shifts)]
        return write_header(lines, end=layout.with_end) + layout.before_words

    written = b""
    with path.open("wb") as file:
        for events in chunks:
            if (events.height, events.width) != (height, width):
                raise ValueError(f"events of a sensor {events.height}x{events.width} among those of {height}x{width}")
            if not len(events):
                continue
            stored = times.store(events.t)
            if not written:
                written = header()
                file.write(written)
            file.write(encode(events.x, events.y, stored, events.p).data)
        if not written:
            written = header()
            file.write(written)
    if header() != written:
        _replace_header(path, len(written), header())


def _replace_header(path: Path, num_bytes: int, header: bytes) -> None:
    # Pauses too long for the format are rare and known only when they come: then the file is copied once.
    whole = path.with_name(path.name + ".whole")
    with path.open("rb") as words, whole.open("wb") as file:
        words.seek(num_bytes)
        file.write(header)
        shutil.copyfileobj(words, file, 1 << 20)
    whole.replace(path)


class StoredTimes:
    """Follows the times of a recording and tells those that go into the file.

    `shifts` lists what was taken away: (number of the event from which on, us).
    """

    def __init__(self, end_t_us: int, max_pause_us: int) -> None:
        """Start before the first event."""
        self.shifts: list[tuple[int, int]] = []
        self._end_t_us, self._max_pause_us = end_t_us, max_pause_us
        self._num_events, self._shift, self._last = 0, 0, 0

    def store(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return stored times of the next events (N,), N > 0; raise ValueError where time goes back."""
        first = int(t[0])
        if self._num_events == 0:
            self._last = first
            if not 0 <= first < self._end_t_us:
                self._take(0, first)
        elif first < self._last:
            raise ValueError(f"events from {first} us follow events up to {self._last} us: sort them first")
        # Differences of sorted times fit 64 bits without a sign, whatever the times.
        steps = np.diff(t, prepend=np.int64(self._last)).view(np.uint64)
        long = steps >= np.uint64(self._max_pause_us)
        stored = t - np.int64(self._shift)
        if long.any():
            stored -= np.cumsum(np.where(long, steps, np.uint64(0)), dtype=np.uint64).view(np.int64)
            for number in np.flatnonzero(long):
                self._take(self._num_events + int(number), int(steps[number]))
        self._num_events, self._last = self._num_events + len(t), int(t[-1])
        return stored

    def _take(self, number: int, us: int) -> None:
        self.shifts.append((number, us))
        self._shift += us
