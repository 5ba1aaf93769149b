"""Show the events on a sensor of another size, thinned out so that their density stays, or all of them."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.event_transforms.event_transform import select
from eventsam.events import MAX_SIDE, Events, trusted

Thinning = Literal["none", "random", "average"]
"""What becomes of the many events that a larger pixel gathers; see `ScaleEvents`."""


@dataclass(frozen=True)
class ScaleEvents:
    """Move every event to the pixel of a `height` x `width` sensor that the centre of its own pixel falls into.

    A pixel of a smaller sensor covers a = (H W) / (height width) old ones and would fire a times as often. `thinning`:
    - "none": it does; no event is lost.
    - "random": each event is kept with probability 1 / a, so the events per pixel and second stay what they were.
    - "average": as a larger photodiode would see it. The pixel sums the signs of its events and fires, with that sign,
      each time the sum passes a: brightness that a whole pixel's area shares is kept, single noise events and opposite
      signs cancel. Exact in integers, no randomness.
    A larger sensor has no more events than there were: then all three keep every event.

    Geometric: frames of the sample keep their size; where `eventsam.transforms.Resize` brings them to the same size
    afterwards they match again.
    """

    height: int
    width: int
    thinning: Thinning = "none"
    geometric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse impossible sizes and unknown ways of thinning."""
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
            raise ValueError(f"size is {self.height} x {self.width}, allowed: 1 x 1 to {MAX_SIDE} x {MAX_SIDE} pixels")
        if self.thinning not in get_args(Thinning):
            raise ValueError(f"thinning is {self.thinning!r}, allowed: {', '.join(get_args(Thinning))}")

    @property
    def random(self) -> bool:
        """Whether events are thinned out at random."""
        return self.thinning == "random"

    def __call__(self, events: Events, rng: np.random.Generator | None = None) -> Events:
        """Return the events on the new sensor; raise ValueError where thinning is random and no generator is given."""
        x = _new_places(events.width, self.width)[events.x]
        y = _new_places(events.height, self.height)[events.y]
        scaled = trusted(x, y, events.t, events.p, self.height, self.width)
        old, new = events.height * events.width, self.height * self.width
        if self.thinning == "none" or new >= old:
            return scaled
        if self.thinning == "average":
            fires = np.empty(len(scaled), np.bool_)
            charge = np.zeros(new, np.int64)
            _fire(scaled.x, scaled.y, scaled.p, np.uint64(self.width), new, old, charge, fires)
            return select(scaled, fires)
        if rng is None:
            raise ValueError("thinning is 'random': give a numpy Generator")
        return select(scaled, rng.random(len(scaled)) < new / old)


def _new_places(old: int, new: int) -> NDArray[np.uint16]:
    """Return, for each old coordinate, the new one: floor((old + 1/2) new / old side)."""
    return ((2 * np.arange(old, dtype=np.int64) + 1) * new // (2 * old)).astype(np.uint16)


@compiled
def _fire(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
    width: np.uint64,
    share: int,
    whole: int,
    charge: NDArray[np.int64],
    fires: NDArray[np.bool_],
) -> None:
    # An old event is worth share / whole of a new one; the sums are held as multiples of 1 / whole, so nothing rounds.
    for i in range(x.size):
        pixel = np.uint64(y[i]) * width + np.uint64(x[i])
        sign = 2 * np.int64(p[i]) - 1
        value = charge[pixel] + sign * share
        fired = value * sign >= whole
        charge[pixel] = value - sign * whole if fired else value
        fires[i] = fired
