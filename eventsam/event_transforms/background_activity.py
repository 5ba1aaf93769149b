"""Background activity: events that no neighbour supports are noise and left out."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.event_transforms.event_transform import NEVER, check_duration, check_next, select
from eventsam.events import Events


@dataclass(frozen=True)
class BackgroundActivityFilter:
    """Keep an event if one of the 8 neighbours of its pixel fired at most `support` us before it (inclusive).

    The nearest-neighbour filter of Delbruck, "Frame-free dynamic digital vision", 2008. Every event supports, whether
    it was kept or not and whatever its polarity; the pixel's own events do not. The first events of what is given have
    nothing before them and go: for windows of a stream, read more before them (`Data.events_margin_ms`), or keep the
    state with `stream`.
    """

    support: int = 2000
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse times under one microsecond."""
        check_duration("support", self.support)

    def __call__(self, events: Events, rng: np.random.Generator | None = None) -> Events:
        """Return the supported events, nothing known of what came before."""
        return self.stream(events.height, events.width)(events)

    def stream(self, height: int, width: int) -> "BackgroundActivityStream":
        """Return the filter of one sensor that remembers: parts given in order come out as the whole would."""
        return BackgroundActivityStream(self.support, height, width)


class BackgroundActivityStream:
    """A background activity filter with the last time of every pixel; 8 bytes per pixel, for any length of stream."""

    def __init__(self, support: int, height: int, width: int) -> None:
        """Begin with pixels that never fired."""
        self._support = support
        self._size = height, width
        # A margin of pixels that never fire spares the kernel every look at the border.
        self._last = np.full((height + 2) * (width + 2), NEVER, np.int64)
        self._end = NEVER

    def __call__(self, events: Events) -> Events:
        """Return the supported events; ValueError for another sensor, or a part that starts before the last ended."""
        check_next(events, self._size, self._end)
        if not len(events):
            return events
        self._end = int(events.t[-1])
        kept = np.empty(len(events), np.bool_)
        _mark_supported(events.x, events.y, events.t, np.uint64(events.width + 2), self._support, self._last, kept)
        return select(events, kept)


@compiled
def _mark_supported(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    stride: np.uint64,
    support: int,
    last: NDArray[np.int64],
    kept: NDArray[np.bool_],
) -> None:
    one = np.uint64(1)
    two = np.uint64(2)
    for i in range(x.size):
        # The padded array begins one row and one column early, so this is the neighbour up and to the left.
        above = np.uint64(y[i]) * stride + np.uint64(x[i])
        here = above + stride
        below = here + stride
        upper = max(last[above], last[above + one], last[above + two])
        lower = max(last[below], last[below + one], last[below + two])
        newest = max(upper, lower, last[here], last[here + two])
        kept[i] = newest >= t[i] - support
        last[here + one] = t[i]
