"""Event frames: a stream cut by duration, by count, or by the count in the busiest area, as v2e's `dvs_exposure`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events
from eventsam.unknown_name import unknown_name

MODES = ("duration", "count", "area_count")
FULL_SCALE = 2
"""Events of one polarity beyond the other that make a pixel white or black."""


@dataclass(frozen=True)
class Exposure:
    """When an event frame ends: after `duration_us`, after `num_events`, or when any `area_px` square has that many.

    Exactly one of duration and number is set; squares tile the sensor from its upper left corner.
    """

    duration_us: int | None = None
    num_events: int | None = None
    area_px: int | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that never or always ends a frame."""
        if (self.duration_us is None) == (self.num_events is None) or (self.area_px and self.num_events is None):
            raise ValueError("an exposure has a duration, or a number of events and perhaps an area")
        for name in ("duration_us", "num_events", "area_px"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} of an exposure is {value}, allowed: 1 and above")


def parse_exposure(words: list[str]) -> Exposure:
    """Read v2e's words: `duration SECONDS`, `count EVENTS`, `area_count EVENTS PIXELS`; raise ValueError for others."""
    mode, values = (words[0] if words else ""), words[1:]
    if mode not in MODES:
        raise ValueError(unknown_name("dvs_exposure", mode, MODES))
    names = {"duration": "SECONDS", "count": "EVENTS", "area_count": "EVENTS PIXELS"}[mode]
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    if len(numbers) != len(names.split()):
        raise ValueError(f"dvs_exposure {' '.join(words)!r}: write {mode} {names}")
    if mode == "duration":
        return Exposure(duration_us=round(numbers[0] * 1e6))
    if mode == "count":
        return Exposure(num_events=int(numbers[0]))
    return Exposure(num_events=int(numbers[0]), area_px=int(numbers[1]))


@dataclass(frozen=True, eq=False)
class EventFrame:
    """ON minus OFF events of [t0_us, t1_us] as grey (H, W) uint8: 128 where they balance, white for ON."""

    image: NDArray[np.uint8]
    t0_us: int
    t1_us: int
    num_events: int


class EventFramer:
    """Cuts events that come in chunks; the frames do not depend on the chunks."""

    def __init__(
        self, exposure: Exposure, height: int, width: int, start_us: int, full_scale: int = FULL_SCALE
    ) -> None:
        """Begin the first frame at `start_us`; `full_scale` events make a pixel white."""
        self._exposure, self._full_scale = exposure, full_scale
        self._signed = np.zeros((height, width), np.int32)
        self._start_us, self._last_us, self._num_events = start_us, start_us, 0
        area = exposure.area_px or max(height, width)
        self._area = area
        self._counts = np.zeros((-(-height // area), -(-width // area)), np.int64)

    def push(self, events: Events) -> list[EventFrame]:
        """Take the next events; return the frames that end with them."""
        ended = []
        while len(events):
            if self._exposure.duration_us is not None:
                end_us = self._start_us + self._exposure.duration_us
                taken = int(np.searchsorted(events.t, end_us, side="left"))
                full = taken < len(events)
            else:
                limit = self._exposure.num_events or 0
                taken, full = fill_areas(events.x, events.y, self._counts, self._area, limit)
                end_us = int(events.t[taken - 1])
            self._add(events.slice(0, taken))
            if full:
                ended.append(self._end(end_us))
            events = events.slice(taken, len(events))
        return ended

    def flush(self) -> list[EventFrame]:
        """The frame that the stream's end leaves unfinished, if it holds events."""
        return [self._end(self._last_us)] if self._num_events else []

    def _add(self, events: Events) -> None:
        np.add.at(self._signed, (events.y, events.x), events.p.astype(np.int32) * 2 - 1)
        self._num_events += len(events)
        if len(events):
            self._last_us = int(events.t[-1])

    def _end(self, end_us: int) -> EventFrame:
        bright = np.clip(self._signed / self._full_scale, -1, 1)
        image = np.floor(127.5 + 127.5 * bright + 0.5).astype(np.uint8)
        frame = EventFrame(image, self._start_us, end_us, self._num_events)
        self._signed[:] = 0
        self._counts[:] = 0
        self._start_us, self._num_events = end_us, 0
        return frame


@compiled
def fill_areas(
    x: NDArray[np.uint16], y: NDArray[np.uint16], counts: NDArray[Any], area: int, limit: int
) -> tuple[int, bool]:
    """Count events by square until one holds `limit`; return how many were taken and whether that happened."""
    for n in range(len(x)):
        row, column = int(y[n]) // area, int(x[n]) // area
        counts[row, column] += 1
        if counts[row, column] >= limit:
            return n + 1, True
    return len(x), False
