"""Blank: an event image without its events, for the control that shows what events add."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events


@dataclass(frozen=True)
class Blank:
    """Zeros (num_channels, H, W) uint8: what Tencode on black shows of a window without events."""

    num_channels: int = 3

    def __call__(self, events: Events, t0: int, t1: int) -> NDArray[np.uint8]:
        """Return the empty image at the events' sensor size."""
        return np.zeros((self.num_channels, events.height, events.width), np.uint8)

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the image to look at: (3, H, W), black."""
        return np.zeros((3, *image.shape[1:]), np.uint8)
