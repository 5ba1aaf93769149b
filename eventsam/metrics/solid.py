"""Solid grids: cavities filled, laid over each other on one common grid, compared by volume."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from eventsam.metrics.alignment import Similarity
from eventsam.metrics.surface import box_of

Grid = NDArray[np.bool_]


def solid_iou(prediction: Grid, truth: Grid, moved_by: Similarity | None = None) -> float:
    """Return intersection over union of two grids of the cube [-0.5, 0.5]^3 as solids.

    Both are filled (`filled`) and brought to the finer one's cells: of one origin and extent, so cell for cell the same
    places. `moved_by` lays the prediction over the truth first. Two empty grids agree: 1 (the ratio is undefined
    there); one empty grid gives 0. Raises ValueError for anything but bool cubes.
    """
    for name, grid in (("prediction", prediction), ("truth", truth)):
        if grid.ndim != 3 or len(set(grid.shape)) != 1 or grid.dtype != np.bool_:
            raise ValueError(f"expected a bool grid (R, R, R), got {name} {grid.dtype} {grid.shape}")
    resolution = max(len(prediction), len(truth))
    ours, theirs = filled(prediction), at_resolution(filled(truth), resolution)
    ours = at_resolution(ours, resolution) if moved_by is None else moved(ours, moved_by, resolution)
    union = np.count_nonzero(ours | theirs)
    return np.count_nonzero(ours & theirs) / union if union else 1.0


def filled(occupancy: Grid) -> Grid:
    """Return the grid with every empty cell filled that the outside does not reach through faces of empty cells."""
    box = box_of(occupancy)
    regions, _ = ndimage.label(~np.pad(occupancy[box], 1))
    inside = np.zeros_like(occupancy)
    inside[box] = (regions != regions[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return inside


def at_resolution(occupancy: Grid, resolution: int) -> Grid:
    """Return the grid on finer or coarser cells of the same cube, each as the old cell at its centre is."""
    if len(occupancy) == resolution:
        return occupancy
    place = ((np.arange(resolution) + 0.5) * len(occupancy) / resolution).astype(np.int64)
    return occupancy[np.ix_(place, place, place)]


def moved(occupancy: Grid, by: Similarity, resolution: int) -> Grid:
    """Return the solid under p -> p @ linear + offset on a grid of `resolution`; what leaves the cube is lost."""
    back = by.inverse()
    # Cell i of a grid of R lies at (i + 0.5) / R - 0.5; scipy asks for the old index of every new one.
    old, new = len(occupancy), resolution
    matrix: NDArray[Any] = back.linear.T * (old / new)
    corner = (np.full(3, 0.5 / new - 0.5) @ back.linear + back.offset + 0.5) * old - 0.5
    shares = ndimage.affine_transform(occupancy.astype(np.float32), matrix, corner, (new,) * 3, order=1)
    inside: Grid = shares > 0.5
    return inside
