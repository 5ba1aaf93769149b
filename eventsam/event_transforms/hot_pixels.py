"""Hot pixels: those that fire far more than the others do, found by a robust bound and left out."""

import logging
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eventsam.event_transforms.event_transform import select
from eventsam.events import Events

logger = logging.getLogger(__name__)

MAD_TO_DEVIATION = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""
POISSON_DEVIATION = 0.5
"""Standard deviation of the square root of a Poisson count, whatever its mean."""


@dataclass(frozen=True, eq=False)
class HotPixels:
    """The hot pixels of a sensor, and a filter that leaves out their events.

    `mask` bool (H, W), True where hot; `num_events` int64 (H, W), what each pixel fired in `duration` us; `bound`, the
    number of events that a pixel must pass to be hot.
    """

    mask: NDArray[np.bool_]
    num_events: NDArray[np.int64]
    bound: float
    duration: int
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = False

    def __len__(self) -> int:
        """Number of hot pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def pixels(self) -> list[tuple[int, int, float]]:
        """(y, x, events per second) of each hot pixel, the fastest first."""
        seconds = max(self.duration, 1) / 1e6
        found = [(int(y), int(x), float(self.num_events[y, x]) / seconds) for y, x in np.argwhere(self.mask)]
        return sorted(found, key=lambda pixel: -pixel[2])

    def __call__(self, events: Events, rng: np.random.Generator | None = None) -> Events:
        """Return the events of the other pixels; raise ValueError for events of another sensor size."""
        if self.mask.shape != (events.height, events.width):
            raise ValueError(
                f"events of {events.height}x{events.width} pixels, hot pixels found on {self.mask.shape[0]}x"
                f"{self.mask.shape[1]}"
            )
        return select(events, ~self.mask[events.y, events.x])


@dataclass(frozen=True)
class HotPixelFilter:
    """Finds the hot pixels of the events given and leaves out their events.

    Counts are compared by their square root, whose noise is the same for slow and fast pixels. A pixel is hot if its
    root passes median + `num_deviations` deviations, both over the pixels that fired at all, the deviation estimated by
    the median absolute deviation and never taken below that of pure chance; and if it fired more than `isolation` times
    as often as its second busiest neighbour. The second condition spares the edges of objects and flickering lights,
    which are never one or two pixels large; 0 turns it off. Both of a pair of neighbouring hot pixels are found; so may
    be the free end of a thin line that stood still in front of a flickering lamp.

    One window is often too short to tell. Find them once on a long stretch instead (`event_counts` adds up over parts)
    and filter every window with the `HotPixels` that `find` returns.
    """

    num_deviations: float = 6.0
    isolation: float = 2.0
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse bounds that are not positive and finite."""
        if not (np.isfinite(self.num_deviations) and self.num_deviations > 0):
            raise ValueError(f"num_deviations is {self.num_deviations}, allowed: finite, above 0")
        if not (np.isfinite(self.isolation) and self.isolation >= 0):
            raise ValueError(f"isolation is {self.isolation}, allowed: finite, 0 or more")

    def __call__(self, events: Events, rng: np.random.Generator | None = None) -> Events:
        """Return the events of the pixels that are not hot; what was found is logged at level debug."""
        if not len(events):
            return events
        hot = self.find(event_counts(events), int(events.t[-1]) - int(events.t[0]) + 1)
        if len(hot):
            logger.debug("%d hot pixels above %.0f events: %s", len(hot), hot.bound, hot.pixels[:5])
        return hot(events)

    def find(self, num_events: NDArray[np.int64], duration: int) -> HotPixels:
        """Return the hot pixels among counts (H, W) that were gathered over `duration` us."""
        active = np.sqrt(num_events[num_events > 0])
        if not len(active):
            return HotPixels(np.zeros(num_events.shape, np.bool_), num_events, 0.0, duration)
        middle = float(np.median(active))
        deviation = max(MAD_TO_DEVIATION * float(np.median(np.abs(active - middle))), POISSON_DEVIATION)
        bound = (middle + self.num_deviations * deviation) ** 2
        lonely = num_events > self.isolation * _second_busiest_neighbour(num_events)
        return HotPixels((num_events > bound) & lonely, num_events, bound, duration)


def event_counts(events: Events) -> NDArray[np.int64]:
    """Return how many events each pixel fired: int64 (H, W)."""
    pixel = events.y.astype(np.int64) * events.width + events.x
    counts = np.bincount(pixel, minlength=events.height * events.width)
    return counts.astype(np.int64, copy=False).reshape(events.height, events.width)


def _second_busiest_neighbour(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the second largest count among the 8 neighbours of each pixel; none beyond the sensor."""
    height, width = counts.shape
    padded = np.pad(counts, 1)
    first = np.zeros_like(counts)
    second = np.zeros_like(counts)
    for dy in range(3):
        for dx in range(3):
            if (dy, dx) != (1, 1):
                other = padded[dy : dy + height, dx : dx + width]
                second = np.maximum(second, np.minimum(first, other))
                first = np.maximum(first, other)
    return second
