"""Blank: an event image without its events, for the control that shows what events add."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.representations import Cost
from eventsam.representations.window_image import WindowImage


@dataclass(frozen=True)
class Blank(WindowImage):
    """Zeros (num_channels, H, W) uint8: what Tencode on black shows of a window without events."""

    num_channels: int = 3

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.uint8)

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the image to look at: (3, H, W), black."""
        return np.zeros((3, *image.shape[1:]), np.uint8)

    def cost(self, num_events: int, height: int, width: int) -> Cost:
        """Return the cost: nothing is read."""
        return Cost(0, self.num_channels * height * width, 0)

    def _draw(self, window: Events, t0: int, t1: int, image: NDArray[Any]) -> None:
        """Leave the zeros."""
