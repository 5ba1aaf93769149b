"""Events to dense images: one module per representation, and the interface that they share."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events


class Representation(Protocol):
    """Turns the events of a window [t0, t1) us into a dense (C, H, W) array of the sensor's size."""

    @property
    def num_channels(self) -> int:
        """C of the arrays returned."""

    def __call__(self, events: Events, t0: int, t1: int) -> NDArray[Any]:
        """Return (C, H, W) for the events with t in [t0, t1); the others are left out."""

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return an image of `__call__` as uint8 (3, H, W) for people."""
