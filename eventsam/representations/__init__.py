"""Events to dense images: one module per representation, and the interface that they share."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events


@dataclass(frozen=True)
class Cost:
    """What drawing one window costs in memory: the least traffic in bytes, and the working memory besides the image.

    An estimate to choose batch sizes and to compare with a machine's bandwidth; it never falls as a window grows.
    """

    bytes_read: int
    bytes_written: int
    scratch_bytes: int


class Representation(Protocol):
    """Turns the events of a window [t0, t1) us into a dense (C, H, W) array of the sensor's size."""

    @property
    def num_channels(self) -> int:
        """C of the arrays returned."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the arrays returned: uint8, int8 or float32."""

    def __call__(self, events: Events, t0: int, t1: int) -> NDArray[Any]:
        """Return (C, H, W) for the events with t in [t0, t1); the others are left out."""

    def into(self, events: Events, t0: int, t1: int, out: NDArray[Any]) -> None:
        """Write what `__call__` returns into a C-contiguous (C, H, W) array of `dtype`, whatever it holds."""

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return an image of `__call__` as uint8 (3, H, W) for people."""

    def cost(self, num_events: int, height: int, width: int) -> Cost:
        """Return what a window of so many events on a sensor of so many pixels costs."""
