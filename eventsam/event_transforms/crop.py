"""Cut a box out of the sensor: a fixed one, or one at a random place."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eventsam.events import Events


@dataclass(frozen=True)
class CropEvents:
    """Keep the events of a box, in the box's own coordinates: the sensor becomes `height` x `width` pixels.

    Geometric: frames of the sample keep their size and no longer match.
    """

    top: int
    left: int
    height: int
    width: int
    geometric: ClassVar[bool] = True
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse boxes that no sensor holds."""
        if min(self.top, self.left) < 0 or min(self.height, self.width) < 1:
            raise ValueError(
                f"crop top={self.top} left={self.left} height={self.height} width={self.width}, allowed: top and left "
                "of 0 or more, height and width of 1 or more"
            )

    def __call__(self, events: Events, rng: np.random.Generator | None = None) -> Events:
        """Return the events inside; raise ValueError where the box leaves the sensor."""
        return events.crop(self.top, self.left, self.height, self.width)


@dataclass(frozen=True)
class RandomCropEvents:
    """Keep the events of a `height` x `width` box whose place is drawn uniformly over the sensor.

    Geometric: frames of the sample keep their size and no longer match.
    """

    height: int
    width: int
    geometric: ClassVar[bool] = True
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse empty boxes."""
        if min(self.height, self.width) < 1:
            raise ValueError(f"crop is {self.height} x {self.width}, allowed: 1 x 1 or more pixels")

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the events inside the drawn box; raise ValueError where the sensor is smaller than it."""
        if self.height > events.height or self.width > events.width:
            raise ValueError(
                f"crop of {self.height} x {self.width} pixels, larger than the sensor of {events.height} x "
                f"{events.width}"
            )
        top = int(rng.integers(events.height - self.height + 1))
        left = int(rng.integers(events.width - self.width + 1))
        return events.crop(top, left, self.height, self.width)
