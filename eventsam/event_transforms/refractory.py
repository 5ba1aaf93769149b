"""A refractory period: a pixel that has fired stays silent for a while."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.event_transforms.event_transform import NEVER, check_duration, check_next, select
from eventsam.events import Events


@dataclass(frozen=True)
class RefractoryFilter:
    """Drop an event less than `period` us after the last event of its pixel that was kept, of either polarity.

    So a pixel's events that stay are at least `period` apart, as from a sensor with that dead time; filtering again
    changes nothing.
    """

    period: int
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse times under one microsecond."""
        check_duration("period", self.period)

    def __call__(self, events: Events, rng: np.random.Generator | None = None) -> Events:
        """Return the events that stay, nothing known of what came before."""
        return self.stream(events.height, events.width)(events)

    def stream(self, height: int, width: int) -> "RefractoryStream":
        """Return the filter of one sensor that remembers: parts given in order come out as the whole would."""
        return RefractoryStream(self.period, height, width)


class RefractoryStream:
    """A refractory filter with the time of every pixel's last kept event; 8 bytes per pixel, for any length."""

    def __init__(self, period: int, height: int, width: int) -> None:
        """Begin with pixels that never fired."""
        self._period = period
        self._size = height, width
        self._last = np.full(height * width, NEVER, np.int64)
        self._end = NEVER

    def __call__(self, events: Events) -> Events:
        """Return the events that stay; ValueError for another sensor, or a part that starts before the last ended."""
        check_next(events, self._size, self._end)
        if not len(events):
            return events
        self._end = int(events.t[-1])
        kept = np.empty(len(events), np.bool_)
        _mark_rested(events.x, events.y, events.t, np.uint64(events.width), self._period, self._last, kept)
        return select(events, kept)


@compiled
def _mark_rested(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    width: np.uint64,
    period: int,
    last: NDArray[np.int64],
    kept: NDArray[np.bool_],
) -> None:
    for i in range(x.size):
        pixel = np.uint64(y[i]) * width + np.uint64(x[i])
        rested = t[i] - period >= last[pixel]
        kept[i] = rested
        last[pixel] = t[i] if rested else last[pixel]
