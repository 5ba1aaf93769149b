"""Voxel grid: signed events spread over time bins, bilinear in time."""

from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsam.events import Events
from eventsam.representations import Cost
from eventsam.representations.colours import signed_rgb
from eventsam.representations.scratch import borrow_zeros
from eventsam.representations.tencode import Reference
from eventsam.representations.voxel_subpixel import checked_positions, checked_times, draw_subpixel
from eventsam.representations.voxel_sums import DENSE_EVENTS_PER_VOXEL, draw_bilinear, draw_exact, normalize_nonzero
from eventsam.representations.window_image import BYTES_PER_EVENT, WindowImage, check_choice, check_count

MAX_EXACT_SUM = 1 << 62
"""Bound on events times microseconds: what exact sums can reach in 64 bits (a million events over 53 days)."""


@dataclass(frozen=True)
class VoxelGrid(WindowImage):
    """Voxel grid (K, H, W) float32 of a window (Zhu et al., CVPR 2019, section 3.1, as in the seed).

    With s = (K - 1) (t - t0) / (t1 - t0), an event of sign v = 2 p - 1 adds v (1 - frac s) to bin floor s and v frac s
    to the next. `reference` says what t0 and t1 are: the window's bounds, or its first and last event (the seed's form,
    where the last event lies exactly in the last bin). Where t1 == t0 every event falls in bin 0. `normalize` shifts
    and scales the nonzero voxels to mean 0 and population standard deviation 1 and leaves zeros alone; where they are
    all equal only the mean is taken off.

    `exact` sums whole numbers instead of floats, with one rounding at the end: float32(n / T), T = max(t1 - t0, 1) and
    n the sum of v (T - w) here and v w in the next bin, w = (K - 1) (t - t0) - floor(s) T. The result does not depend
    on the order of the events, so every machine, thread count and GPU gives the same bits.
    """

    num_bins: int = 5
    normalize: bool = False
    reference: Reference = "window"
    exact: bool = False

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)

    def __post_init__(self) -> None:
        """Refuse impossible bin counts and unknown references."""
        check_count("num_bins", self.num_bins, 1)
        check_choice("reference", self.reference, get_args(Reference))

    @property
    def num_channels(self) -> int:
        """One channel per bin."""
        return self.num_bins

    @property
    def starts_from_zero(self) -> bool:
        """No: every voxel is written."""
        return False

    def subpixel(
        self, x: ArrayLike, y: ArrayLike, t: ArrayLike, p: ArrayLike, height: int, width: int, t0: int, t1: int
    ) -> NDArray[np.float32]:
        """Return (K, H, W) of events at float positions, such as rectified ones: bilinear in x and y as in time.

        `x`, `y` in pixels (a pixel's centre is whole; shares that fall outside the sensor are lost), `t` integer us in
        order, `p` as in `Events`; t in [t0, t1) counts. Computed in float64, summed in float32. Raises ValueError
        for arrays that `Events` would refuse, positions that are not finite, and `exact`.
        """
        if self.exact:
            raise ValueError("exact sums need whole pixels: use VoxelGrid(exact=False) for sub-pixel events")
        events = checked_times(t, p, height, width)
        columns = checked_positions(x, "x", len(events)), checked_positions(y, "y", len(events))
        window = events.between(t0, t1)
        first = int(np.searchsorted(events.t, t0, side="left"))
        start, end = self._bounds(window, t0, t1)
        grid = np.zeros((self.num_bins, height, width), np.float32)
        inside = slice(first, first + len(window))
        draw_subpixel(columns[0][inside], columns[1][inside], window.t, window.p, start, end - start, grid)
        if self.normalize:
            normalize_nonzero(grid.reshape(-1))
        return grid

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the sum over bins as uint8 (3, H, W): red where brighter, blue where darker, white where nothing."""
        self._check_image(image, f"a voxel grid of {self.num_bins} bins")
        return signed_rgb(image.sum(axis=0, dtype=np.float64))

    def cost(self, num_events: int, height: int, width: int) -> Cost:
        """Return the cost: every column of each event, four bytes per voxel out; pairs or exact sums as scratch."""
        pixels = height * width
        voxels = pixels * self.num_bins
        pairs = 8 * pixels if num_events >= DENSE_EVENTS_PER_VOXEL * voxels else 0
        scratch = 16 * pixels if self.exact else pairs
        passes = 3 if self.normalize else 0
        return Cost(num_events * BYTES_PER_EVENT + 4 * passes * voxels, 4 * voxels, scratch)

    def _bounds(self, window: Events, t0: int, t1: int) -> tuple[int, int]:
        if self.reference == "window" or not len(window):
            return t0, t1
        return int(window.t[0]), int(window.t[-1])

    def _draw(self, window: Events, t0: int, t1: int, image: NDArray[Any]) -> None:
        start, end = self._bounds(window, t0, t1)
        columns = window.x, window.y, window.t, window.p, start, end - start, np.uint32(window.width)
        grid = image.reshape(self.num_bins, -1)
        pixels = grid.shape[1]
        if self.exact:
            if len(window) * (end - start) >= MAX_EXACT_SUM:
                raise ValueError(
                    f"exact sums of {len(window)} events over {end - start} us do not fit 64 bits: shorten the window"
                )
            draw_exact(*columns, borrow_zeros(pixels, np.int64), borrow_zeros(pixels, np.int64, slot=1), grid)
        else:
            dense = len(window) >= DENSE_EVENTS_PER_VOXEL * grid.size
            draw_bilinear(*columns, borrow_zeros(pixels if dense else 0, np.uint64), grid)
        if self.normalize:
            normalize_nonzero(grid.reshape(-1))
