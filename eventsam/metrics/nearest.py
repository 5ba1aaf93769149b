"""Exact nearest neighbours among surface points, from a grid of cells."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled

Points = NDArray[np.float64]

MAX_CELLS = 64
"""Cells per side of the grid."""
POINTS_PER_CELL = 12
"""Points in a cell that a surface crosses; a surface crosses about as many cells as a side has squared."""


class Neighbours(NamedTuple):
    """For every query the distance (n,) float64 to its nearest point and that point's place (n,) int64."""

    distance: Points
    place: NDArray[np.int64]


class PointIndex:
    """Points (m, 3), m >= 1, sorted into cubic cells so that they can be asked many times.

    A ball around each query is searched, and doubled until it holds a point: then it holds the nearest one. Points of
    a surface fill few cells, so this takes a fraction of a k-d tree's time.
    Raises ValueError for other shapes, no points and points that are not finite.
    """

    def __init__(self, points: NDArray[Any]) -> None:
        # float64 throughout: distances of float32 points would carry its rounding.
        given = np.ascontiguousarray(points, np.float64)
        if given.ndim != 2 or given.shape[1] != 3 or not len(given) or not np.isfinite(given).all():
            raise ValueError(f"expected finite points (m, 3), m >= 1, got shape {given.shape}")
        self._low = given.min(axis=0)
        extent = float((given.max(axis=0) - self._low).max())
        num_cells = int(np.clip(np.sqrt(len(given) / POINTS_PER_CELL), 1, MAX_CELLS))
        self._side = max(extent / num_cells, 1e-12)
        # One cell more, for the points on the far border.
        self._num_cells = num_cells + 1
        self._starts = np.zeros(self._num_cells**3 + 1, np.int32)
        self._order = np.empty(len(given), np.int32)
        _sort_into_cells(given, self._low, self._side, self._num_cells, self._starts, self._order)
        self._sorted = given[self._order]

    def nearest(self, queries: NDArray[Any]) -> Neighbours:
        """Return each query's (n, 3) nearest point."""
        asked = np.ascontiguousarray(queries, np.float64)
        if asked.ndim != 2 or asked.shape[1] != 3 or not np.isfinite(asked).all():
            raise ValueError(f"expected finite queries (n, 3), got shape {asked.shape}")
        squared, place = np.empty(len(asked)), np.empty(len(asked), np.int64)
        _nearest(asked, self._sorted, self._starts, self._low, self._side, self._num_cells, squared, place)
        return Neighbours(np.sqrt(squared), self._order[place].astype(np.int64))


@compiled
def _sort_into_cells(
    points: Points, low: Points, side: float, num_cells: int, starts: NDArray[np.int32], order: NDArray[np.int32]
) -> None:
    """Counting sort: `order` lists the points cell by cell, `starts` where each cell begins."""
    cells = np.empty(len(points), np.int64)
    for n in range(len(points)):
        cell = 0
        for axis in range(3):
            cell = cell * num_cells + min(int((points[n, axis] - low[axis]) / side), num_cells - 1)
        cells[n] = cell
        starts[cell + 1] += 1
    for cell in range(len(starts) - 1):
        starts[cell + 1] += starts[cell]
    place = starts[:-1].copy()
    for n in range(len(points)):
        order[place[cells[n]]] = n
        place[cells[n]] += 1


@compiled
def _nearest(
    queries: Points,
    points: Points,
    starts: NDArray[np.int32],
    low: Points,
    side: float,
    num_cells: int,
    squared: Points,
    place: NDArray[np.int64],
) -> None:
    """Write the squared distance to the nearest of the sorted points, and its place among them."""
    last, found = num_cells - 1, 0
    scale = (1 + 1e-9) / (side * side)
    for n in range(len(queries)):
        # In units of cells, from the grid's corner.
        x, y, z = (queries[n, 0] - low[0]) / side, (queries[n, 1] - low[1]) / side, (queries[n, 2] - low[2]) / side
        # Queries come in the order of a surface: the last one's answer is a good first guess.
        dx, dy, dz = (
            points[found, 0] - queries[n, 0],
            points[found, 1] - queries[n, 1],
            points[found, 2] - queries[n, 2],
        )
        best, radius = dx * dx + dy * dy + dz * dz, 0.5
        while radius == 0.5 or best > (radius * side) ** 2:
            radius *= 2.0
            reach = min(radius, np.sqrt(best) / side) * (1 + 1e-9)
            for jx in range(max(int(np.floor(x - reach)), 0), min(int(np.floor(x + reach)), last) + 1):
                gap_x = max(jx - x, x - jx - 1, 0.0)
                for jy in range(max(int(np.floor(y - reach)), 0), min(int(np.floor(y + reach)), last) + 1):
                    gap_y = max(jy - y, y - jy - 1, 0.0)
                    rest = min(reach * reach, best * scale) - gap_x * gap_x - gap_y * gap_y
                    if rest < 0:
                        continue
                    # A column's cells follow each other, and so do their points: one run.
                    half = np.sqrt(rest)
                    first, stop = max(int(np.floor(z - half)), 0), min(int(np.floor(z + half)), last) + 1
                    if first >= stop:
                        continue
                    column = (jx * num_cells + jy) * num_cells
                    for candidate in range(starts[column + first], starts[column + stop]):
                        dx = points[candidate, 0] - queries[n, 0]
                        dy = points[candidate, 1] - queries[n, 1]
                        dz = points[candidate, 2] - queries[n, 2]
                        distance = dx * dx + dy * dy + dz * dz
                        if distance < best:
                            best, found = distance, candidate
        squared[n], place[n] = best, found
