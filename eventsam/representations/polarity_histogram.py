"""Polarity histogram: events counted per polarity over the whole window."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events
from eventsam.representations import Cost
from eventsam.representations.colours import signed_rgb
from eventsam.representations.pixels import pixel_of
from eventsam.representations.window_image import BYTES_PER_PIXEL_AND_POLARITY, WindowImage, check_count


@dataclass(frozen=True)
class PolarityHistogram(WindowImage):
    """Counts (2, H, W) uint8 of a window: channel 0 darker events, channel 1 brighter ones, stopping at the cut-off.

    The released code's event histogram (EST, Gehrig et al., ICCV 2019, section 3.2, with polarity kept apart), which
    clips at 200.
    """

    count_cutoff: int = 200

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.uint8)

    def __post_init__(self) -> None:
        """Refuse a cut-off that a byte cannot hold."""
        check_count("count_cutoff", self.count_cutoff, 1, 255)

    @property
    def num_channels(self) -> int:
        """Darker, brighter."""
        return 2

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return brighter less darker counts as uint8 (3, H, W): red where brighter, blue where darker."""
        self._check_image(image, "a polarity histogram")
        return signed_rgb(image[1].astype(np.int64) - image[0])

    def cost(self, num_events: int, height: int, width: int) -> Cost:
        """Return the cost: x, y, p of each event, two bytes per pixel out, no scratch."""
        return Cost(num_events * BYTES_PER_PIXEL_AND_POLARITY, 2 * height * width, 0)

    def _draw(self, window: Events, t0: int, t1: int, image: NDArray[Any]) -> None:
        _count(window.x, window.y, window.p, np.uint32(window.width), self.count_cutoff, image.reshape(-1))


@compiled
def _count(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
    width: np.uint32,
    cutoff: int,
    counts: NDArray[np.uint8],
) -> None:
    limit, plane = np.uint8(cutoff), np.uint64(counts.size >> 1)
    for i in range(x.size):
        at = pixel_of(x[i], y[i], width) + np.uint64(p[i]) * plane
        count = counts[at]
        counts[at] = count + np.uint8(count < limit)
