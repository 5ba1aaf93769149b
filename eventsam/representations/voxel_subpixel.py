"""The voxel grid of events between pixels (rectified or warped ones): bilinear in x, y and time."""

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsam.compiled import compiled
from eventsam.events import Events
from eventsam.representations.voxel_sums import bin_end


def checked_positions(values: ArrayLike, name: str, num_events: int) -> NDArray[np.float64]:
    """Return pixel positions as contiguous float64 (N,); raise ValueError for another shape, NaN or infinity."""
    positions = np.ascontiguousarray(values, np.float64)
    if positions.shape != (num_events,):
        raise ValueError(f"{name} has shape {positions.shape}, t has ({num_events},): expected equal, 1-D")
    # A sum is finite unless a term is not, or the terms are absurd: one pass in place of a mask.
    if not isfinite(float(np.abs(positions).sum())):
        raise ValueError(f"{name} holds NaN or infinity (or values near 1e308), allowed: finite pixel positions")
    view = positions.view()
    view.flags.writeable = False
    return view


def checked_times(t: ArrayLike, p: ArrayLike, height: int, width: int) -> Events:
    """Return the times and polarities of sub-pixel events, checked as those of `Events` are; the pixels are all 0."""
    times: NDArray[Any] = np.asarray(t)
    nowhere = np.zeros(times.shape, np.uint16)
    return Events.from_arrays(nowhere, nowhere, times, p, height=height, width=width, source="sub-pixel events")


@compiled
def draw_subpixel(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    t0: int,
    duration: int,
    grid: NDArray[np.float32],
) -> None:
    """Add each event's eight shares to a (K, H, W) grid of zeros; corners outside the sensor are left out."""
    num_bins, height, width = grid.shape
    scale = 1.0 / duration if duration > 0 else 0.0
    first = 0
    for b in range(num_bins):
        end = bin_end(t, b, num_bins, t0, duration, first)
        far = min(b + 1, num_bins - 1)
        for i in range(first, end):
            # Compared as floats first: a position far outside does not fit an integer.
            if not (-1.0 < x[i] < width and -1.0 < y[i] < height):
                continue
            left, top = int(np.floor(x[i])), int(np.floor(y[i]))
            share = ((t[i] - t0) * (num_bins - 1) - b * duration) * scale
            sign = 2.0 * p[i] - 1.0
            for row in range(max(top, 0), min(top + 2, height)):
                for column in range(max(left, 0), min(left + 2, width)):
                    weight = sign * (1.0 - abs(x[i] - column)) * (1.0 - abs(y[i] - row))
                    grid[b, row, column] += np.float32(weight * (1.0 - share))
                    grid[far, row, column] += np.float32(weight * share)
        first = end
