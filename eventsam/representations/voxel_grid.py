"""Voxel grid: signed events spread over time bins, bilinear in time."""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events
from eventsam.representations.tencode import Reference


@dataclass(frozen=True)
class VoxelGrid:
    """Voxel grid (K, H, W) float32 of a window (Zhu et al., CVPR 2019, section 3.1, as in the seed).

    With s = (K - 1) (t - t0) / (t1 - t0), an event of sign v = 2 p - 1 adds v (1 - frac s) to bin floor s and v frac s
    to the next. `reference` says what t0 and t1 are: the window's bounds, or its first and last event (the seed's form,
    where the last event lies exactly in the last bin). Where t1 == t0 every event falls in bin 0. `normalize` shifts
    and scales the nonzero voxels to mean 0 and population standard deviation 1 and leaves zeros alone; where they are
    all equal only the mean is taken off.
    """

    num_bins: int = 5
    normalize: bool = False
    reference: Reference = "window"

    def __post_init__(self) -> None:
        """Refuse impossible bin counts and unknown references."""
        if isinstance(self.num_bins, bool) or not isinstance(self.num_bins, int) or self.num_bins < 1:
            raise ValueError(f"num_bins is {self.num_bins!r}, allowed: an integer of 1 or more")
        if self.reference not in get_args(Reference):
            raise ValueError(f"reference is {self.reference!r}, allowed: {', '.join(get_args(Reference))}")

    @property
    def num_channels(self) -> int:
        """One channel per bin."""
        return self.num_bins

    def __call__(self, events: Events, t0: int, t1: int) -> NDArray[np.float32]:
        """Return float32 (K, H, W) for the events with t in [t0, t1) us; raise ValueError for t1 < t0."""
        window = events.between(t0, t1)
        grid = np.zeros((self.num_bins, window.height * window.width), np.float32)
        if len(window):
            start, end = (t0, t1) if self.reference == "window" else (int(window.t[0]), int(window.t[-1]))
            edges = bin_edges(window.t, start, end, self.num_bins)
            _accumulate(
                window.x, window.y, window.t, window.p, edges, start, end - start, np.uint64(window.width), grid
            )
        if self.normalize:
            _normalize_nonzero(grid.reshape(-1))
        return grid.reshape(self.num_bins, window.height, window.width)

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the sum over bins as uint8 (3, H, W): red where brighter, blue where darker, white where nothing."""
        if image.ndim != 3 or image.shape[0] != self.num_bins:
            raise ValueError(f"a voxel grid of {self.num_bins} bins is ({self.num_bins}, H, W), given {image.shape}")
        total = image.sum(axis=0, dtype=np.float64)
        peak = np.abs(total).max(initial=0.0)
        share = np.rint(np.abs(total) / peak * 255 if peak > 0 else np.zeros_like(total)).astype(np.uint8)
        red, blue = np.where(total < 0, 255 - share, 255), np.where(total > 0, 255 - share, 255)
        return np.stack([red, 255 - share, blue]).astype(np.uint8)


def bin_edges(t: NDArray[np.int64], t0: int, t1: int, num_bins: int) -> NDArray[np.int64]:
    """Return num_bins + 1 event numbers: events from edges[b] up to edges[b + 1] have floor s = b."""
    edges = np.full(num_bins + 1, len(t), np.int64)
    edges[0] = 0
    if t1 > t0 and num_bins > 1:
        # s >= b means t - t0 >= ceil(b d / (K - 1)): exact in integers.
        starts = t0 - (-np.arange(1, num_bins, dtype=np.int64) * (t1 - t0)) // (num_bins - 1)
        edges[1:-1] = np.searchsorted(t, starts, side="left")
    return edges


@compiled
def _accumulate(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    edges: NDArray[np.int64],
    t0: int,
    duration: int,
    width: np.uint64,
    grid: NDArray[np.float32],
) -> None:
    num_bins = edges.size - 1
    # One instant has nothing to interpolate: every event has share 0 and stays in its bin.
    scale = 1.0 / duration if duration > 0 else 0.0
    for b in range(num_bins):
        first, end = edges[b], edges[b + 1]
        if first == end:
            continue
        xs, ys, ts, ps = x[first:end], y[first:end], t[first:end], p[first:end]
        # In the last bin the share of the next one is 0: adding it to the same plane changes nothing.
        near, far = grid[b], grid[min(b + 1, num_bins - 1)]
        for i in range(xs.size):
            pixel = np.uint64(ys[i]) * width + np.uint64(xs[i])
            sign = np.float32(2.0) * np.float32(ps[i]) - np.float32(1.0)
            # The numerator is a whole number, so an event on a bin's edge leaves the next bin exactly untouched.
            share = np.float32(((ts[i] - t0) * (num_bins - 1) - b * duration) * scale)
            near[pixel] += sign * (np.float32(1.0) - share)
            far[pixel] += sign * share


@compiled
def _normalize_nonzero(values: NDArray[np.float32]) -> None:
    # No branches on the data: which voxels are zero is random, and a mispredicted branch costs more than the sums.
    count, total, low, high = 0, 0.0, np.inf, -np.inf
    for i in range(values.size):
        value = np.float64(values[i])
        count += value != 0.0
        total += value
        low = min(low, value if value != 0.0 else np.inf)
        high = max(high, value if value != 0.0 else -np.inf)
    if count == 0:
        return
    mean, squares = total / count, 0.0
    for i in range(values.size):
        deviation = (values[i] - mean) if values[i] != 0.0 else 0.0
        squares += deviation * deviation
    # Equal values are told by their range: rounding leaves them a standard deviation of about 1e-17, not 0.
    scale = np.sqrt(count / squares) if high > low else 0.0
    for i in range(values.size):
        values[i] = np.float32((values[i] - mean) * scale) if values[i] != 0.0 else np.float32(0.0)
