"""Draw an occupancy grid as a shaded solid, in milliseconds.

Seen from above the front right, orthographically. The three axes project to whole pixels, so the sides of cells tile
the picture without cracks; every cell has a rank that grows towards the viewer, so the largest rank per pixel is the
visible one and no depth buffer is needed.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Screen steps (columns, rows downwards) of one cell to the right, to the front and up, in units of the scale: an
# orthographic view turned 27 degrees and tilted 30 degrees, as near as small integers come.
_STEPS = np.array([[4, 1], [-2, 2], [0, -4]])
_SPANNED = ((1, 2), (0, 2), (0, 1))
_SIDE_BRIGHTNESS = np.array([0.66, 0.86, 1.0], dtype=np.float32)
_LIGHT = np.array([0.30, 0.60, 0.74], dtype=np.float32)
_NEARNESS = np.array([0.24, 0.48, 0.28])
_SHADOW = 66
_JUMP_CELLS = 2.2
_SUPERSAMPLING = 2


def render_occupancy(occupancy: NDArray[np.bool_], colour: str, pixels: int = 288) -> NDArray[np.uint8]:
    """Draw a (R, R, R) grid (axes: x right, y away, z up) in a '#rrggbb' colour on a transparent ground.

    Returns uint8 RGBA (height, width, 4). The cube fills the picture the same way for every grid of one R, so pictures
    can be compared side by side. `pixels` is the width aimed at: the nearest whole number of pixels per cell is taken.
    Raises ValueError for anything but a cube of booleans.
    """
    if occupancy.ndim != 3 or len(set(occupancy.shape)) != 1 or occupancy.dtype != np.bool_:
        raise ValueError(f"occupancy is {occupancy.dtype} {occupancy.shape}, expected bool (R, R, R)")
    # From here on the second axis runs to the front, so that along every axis a larger index is nearer to the viewer.
    cells = np.ascontiguousarray(occupancy[:, ::-1])
    resolution = len(cells)
    scale = max(1, round(pixels * _SUPERSAMPLING / (6 * resolution)))
    shape = (7 * resolution * scale, 6 * resolution * scale)
    shown = np.zeros(shape[0] * shape[1], dtype=np.int32)
    for axis in range(3):
        exposed = np.argwhere(cells & ~_next(cells, axis))
        ranks: NDArray[np.int64] = np.asarray(np.ravel_multi_index(tuple(exposed.T), cells.shape))
        side = np.zeros_like(shown)
        # argwhere counts up, so a nearer cell is written later and stays
        side[_pixels_of_sides(exposed, axis, scale, resolution)] = (3 * ranks + axis + 1)[:, None]
        np.maximum(shown, side, out=shown)
    picture = _paint(shown.reshape(shape), cells, colour)
    np.maximum(picture[..., 3], _shadow(shown.reshape(shape), cells, scale), out=picture[..., 3])
    return _shrink(picture)


def trim_together(pictures: list[NDArray[np.uint8]], margin: int = 4) -> list[NDArray[np.uint8]]:
    """Cut RGBA pictures of one size to the smallest box that holds what any of them shows."""
    if not pictures:
        return []
    seen = np.any([picture[..., 3] > 0 for picture in pictures], axis=0)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if len(rows) == 0:
        return pictures
    box = (
        slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
        slice(max(0, columns[0] - margin), columns[-1] + 1 + margin),
    )
    return [picture[box] for picture in pictures]


def _next(cells: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Return, for each cell, whether its neighbour one step along `axis` is filled."""
    after = np.zeros_like(cells)
    destination, source = [slice(None)] * 3, [slice(None)] * 3
    destination[axis], source[axis] = slice(None, -1), slice(1, None)
    after[tuple(destination)] = cells[tuple(source)]
    return after


def _pixels_of_sides(indices: NDArray[np.int64], axis: int, scale: int, resolution: int) -> NDArray[np.int64]:
    """Return flat pixel numbers (n, pixels per side) of the near side, normal to `axis`, of the cells (n, 3)."""
    corners = (indices + np.eye(3, dtype=np.int64)[axis]) @ (_STEPS * scale)
    columns, rows = corners[:, 0] + 2 * resolution * scale, corners[:, 1] + 4 * resolution * scale
    width = 6 * resolution * scale
    across, down = _pixels_of_parallelogram(*(_STEPS[list(_SPANNED[axis])] * scale))
    flat: NDArray[np.int64] = (rows * width + columns)[:, None] + (down * width + across)
    return flat


def _pixels_of_parallelogram(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (column, row) offsets of the pixels whose centres lie in the parallelogram of two whole-pixel edges."""
    reach = int(np.abs(first).max() + np.abs(second).max())
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # A shift by an odd fraction keeps centres off the edges, where two neighbours would both claim or both refuse them.
    points = np.stack([columns + 0.5 + 1e-4, rows + 0.5 + 2.3e-4], axis=-1)
    shares = points @ np.linalg.inv(np.stack([first, second]).astype(np.float64))
    inside = ((shares >= 0) & (shares < 1)).all(axis=-1)
    return columns[inside], rows[inside]


def _paint(shown: NDArray[np.int32], cells: NDArray[np.bool_], colour: str) -> NDArray[np.uint8]:
    """Return premultiplied RGBA: side brightness, soft light, occlusion and lines where the depth jumps."""
    visible = np.flatnonzero(np.bincount(shown.ravel(), minlength=3 * cells.size + 1)[1:])
    indices = np.stack(np.unravel_index(visible // 3, cells.shape), axis=-1)
    nearness = np.zeros(3 * cells.size + 1, dtype=np.float32)
    nearness[visible + 1] = indices @ _NEARNESS / len(cells)
    tones = _tones(cells, indices, visible % 3) * (0.88 + 0.16 * nearness[visible + 1])
    base = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)], dtype=np.float32)
    # Above 1 a tone turns to white instead of clipping channel by channel, which would shift the hue.
    lift = np.clip(tones - 1, 0, 1)[:, None]
    table = np.zeros((3 * cells.size + 1, 4), dtype=np.uint8)
    table[visible + 1, :3] = np.minimum(tones, 1)[:, None] * (base + (255 - base) * lift)
    table[visible + 1, 3] = 255
    painted = table[shown]
    _draw_lines(painted, shown, nearness, len(cells))
    return painted


def _tones(cells: NDArray[np.bool_], indices: NDArray[np.int64], axes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the brightness of cell sides: half by the side, half by the surface's own slope, less in hollows."""
    padded = np.pad(cells, 3).astype(np.float32)
    density = ndimage.uniform_filter(padded, 5)
    slope = -np.stack(np.gradient(density), axis=-1)
    at = tuple((indices + 3).T)
    normals = slope[at]
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    lit = 0.66 + 0.52 * np.clip(normals @ _LIGHT, -0.6, 1)
    outside = tuple((indices + 3 + np.eye(3, dtype=np.int64)[axes]).T)
    openness = np.clip(1.28 - 0.62 * density[outside], 0.6, 1.15)
    tones: NDArray[np.float32] = (0.5 * _SIDE_BRIGHTNESS[axes] + 0.5 * lit) * openness
    return tones


def _draw_lines(
    painted: NDArray[np.uint8], shown: NDArray[np.int32], nearness: NDArray[np.float32], resolution: int
) -> None:
    """Darken, in place, pixels where the solid jumps in depth, and a little those where one side meets the next."""
    flat = painted.reshape(-1, 4)
    for step, border in ((1, shown[:, 1:] != shown[:, :-1]), (shown.shape[1], shown[1:] != shown[:-1])):
        rows, columns = np.nonzero(border)
        before = rows * shown.shape[1] + columns
        change = np.abs(nearness[shown.flat[before + step]] - nearness[shown.flat[before]])
        factor = np.where(change > _JUMP_CELLS / resolution, 0.72, 0.94)
        flat[before + step, :3] = flat[before + step, :3] * factor[:, None]


def _shadow(shown: NDArray[np.int32], cells: NDArray[np.bool_], scale: int) -> NDArray[np.uint8]:
    """Return the opacity, per pixel, of a soft shadow on the plane below the lowest filled cell."""
    resolution = len(cells)
    opacity = np.zeros(shown.size, dtype=np.uint8)
    heights = np.flatnonzero(cells.any(axis=(0, 1)))
    if len(heights) > 0:
        soft = ndimage.gaussian_filter(cells.any(axis=2).astype(np.float32), resolution / 24)
        plane = np.argwhere(soft > 0.01)
        indices = np.concatenate([plane, np.full((len(plane), 1), heights[0] - 1)], axis=1)
        opacity[_pixels_of_sides(indices, 2, scale, resolution)] = _SHADOW * soft[tuple(plane.T)][:, None]
    return opacity.reshape(shown.shape)


def _shrink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average blocks of premultiplied pixels and divide the opacity out again: anti-aliased RGBA."""
    size = (picture.shape[1] // _SUPERSAMPLING, picture.shape[0] // _SUPERSAMPLING)
    mean: NDArray[np.uint8] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    partial = (mean[..., 3] > 0) & (mean[..., 3] < 255)
    edge = mean[partial].astype(np.float32)
    edge[:, :3] *= 255 / edge[:, 3:]
    mean[partial] = np.minimum(np.rint(edge), 255)
    return mean
