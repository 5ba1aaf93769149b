"""Surfaces as points with normals: meshes of occupancy grids, mesh files, and seeded sampling by area."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.simulate.meshes import read_geometry

Grid = NDArray[np.bool_]

_CORNERS = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), axis=-1).reshape(8, 3)


class Triangles(NamedTuple):
    """A triangle mesh: vertices (V, 3) float64, faces (F, 3) int64, counter-clockwise seen from outside."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]


class Surface(NamedTuple):
    """Points (n, 3) on a surface and its outward unit normals (n, 3) there, float64."""

    points: NDArray[np.float64]
    normals: NDArray[np.float64]


def grid_mesh(occupancy: Grid) -> Triangles:
    """Return the surface of a grid (R, R, R) of the cube [-0.5, 0.5]^3: closed, rounded, two triangles per cell face.

    Surface nets (Gibson 1998): one vertex in every 2 x 2 x 2 block of cells that is neither full nor empty, at the mean
    of the middles of its filled-to-empty edges. Flat faces stay exactly where they are, staircases become slopes, so
    that areas and normals are the shape's and not the grid's. Outside the cube is empty.
    """
    if occupancy.ndim != 3 or len(set(occupancy.shape)) != 1 or occupancy.dtype != np.bool_:
        raise ValueError(f"expected a bool grid (R, R, R), got {occupancy.dtype} {occupancy.shape}")
    box = box_of(occupancy)
    padded = np.pad(occupancy[box], 1)
    depth, height, width = (side - 1 for side in padded.shape)
    code = np.zeros((depth, height, width), np.uint8)
    for bit, (x, y, z) in enumerate(_CORNERS):
        code |= padded[x : x + depth, y : y + height, z : z + width].view(np.uint8) << np.uint8(bit)
    mixed = np.flatnonzero((code != 0) & (code != 255))
    number = np.zeros(code.size, np.int64)
    number[mixed] = np.arange(len(mixed))
    # Block i lies between the centres of padded cells i and i + 1, that is of cells i - 1 and i.
    blocks = np.stack(np.unravel_index(mixed, code.shape), axis=-1) + [part.start for part in box]
    vertices = (blocks - 0.5 + _VERTICES[code.ravel()[mixed]]) / len(occupancy) - 0.5
    quads = np.concatenate([_quads(padded, number, axis) for axis in range(3)])
    return Triangles(vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


def box_of(occupancy: Grid) -> tuple[slice, ...]:
    """Return the slices of the smallest box that holds all filled cells, of no cells for an empty grid."""
    sides = []
    for axis in range(3):
        filled = np.flatnonzero(occupancy.any(axis=tuple(other for other in range(3) if other != axis)))
        sides.append(slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 0))
    return tuple(sides)


def read_triangles(path: Path | str) -> Triangles:
    """Read a mesh file; the parts of a scene are put in their places and joined. Raises ValueError naming the file."""
    geometry = read_geometry(Path(path))
    return Triangles(np.asarray(geometry.vertices, np.float64), np.asarray(geometry.faces, np.int64))


def sample_surface(mesh: Triangles, num_points: int, seed: int = 0) -> Surface:
    """Draw points evenly by area; the same ones for the same mesh and seed; none from a mesh without area.

    Raises ValueError for vertices that are not finite or fewer than one point.
    """
    if num_points < 1 or not np.isfinite(mesh.vertices).all():
        raise ValueError(f"expected finite vertices and one point or more, got num_points {num_points}")
    normals = np.empty((len(mesh.faces), 3))
    total = np.cumsum(_doubled_areas(mesh.vertices, mesh.faces, normals))
    if not len(total) or total[-1] == 0:
        return Surface(np.empty((0, 3)), np.empty((0, 3)))
    generator = np.random.default_rng(seed)
    # One draw per equal share of the area: fewer clumps than free draws, and neighbours follow each other.
    places = (np.arange(num_points) + generator.random(num_points)) / num_points * total[-1]
    face = np.minimum(np.searchsorted(total, places, side="right"), len(total) - 1)
    points = np.empty((num_points, 3))
    _place_points(mesh.vertices, mesh.faces, face, generator.random((num_points, 2)), points)
    return Surface(points, normals[face])


def sample_grid(occupancy: Grid, num_points: int, seed: int = 0) -> Surface:
    """Draw points from the surface of a grid (R, R, R) of the cube [-0.5, 0.5]^3; an empty grid gives none."""
    return sample_surface(grid_mesh(occupancy), num_points, seed)


@compiled
def _doubled_areas(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], normals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return twice the area of each triangle (F,) and write its unit normal, zero for one without area."""
    doubled = np.empty(len(faces))
    for n in range(len(faces)):
        a, b, c = vertices[faces[n, 0]], vertices[faces[n, 1]], vertices[faces[n, 2]]
        x = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
        y = (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2])
        z = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        doubled[n] = np.sqrt(x * x + y * y + z * z)
        length = max(doubled[n], 1e-300)
        normals[n, 0], normals[n, 1], normals[n, 2] = x / length, y / length, z / length
    return doubled


@compiled
def _place_points(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    chosen: NDArray[np.int64],
    drawn: NDArray[np.float64],
    points: NDArray[np.float64],
) -> None:
    """Write one point of each chosen triangle: two numbers in [0, 1), folded into the triangle."""
    for n in range(len(chosen)):
        face = chosen[n]
        along, across = drawn[n, 0], drawn[n, 1]
        if along + across > 1:
            along, across = 1 - along, 1 - across
        for axis in range(3):
            start = vertices[faces[face, 0], axis]
            edge, other = vertices[faces[face, 1], axis] - start, vertices[faces[face, 2], axis] - start
            points[n, axis] = start + along * edge + across * other


def _vertex_table() -> NDArray[np.float64]:
    """The vertex of a block by the bits of its eight filled corners: (256, 3) in [0, 1]^3."""
    edges = [(a, b) for a in range(8) for b in range(a) if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 1]
    table = np.full((256, 3), 0.5)
    for code in range(1, 255):
        crossed = [(_CORNERS[a] + _CORNERS[b]) / 2 for a, b in edges if (code >> a & 1) != (code >> b & 1)]
        table[code] = np.mean(crossed, axis=0)
    return table


_VERTICES = _vertex_table()


def _quads(padded: Grid, number: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    """Return the vertices (n, 4) around every face between a filled and an empty cell along `axis`."""
    _, height, width = (side - 1 for side in padded.shape)
    before = np.moveaxis(padded, axis, 0)[:-1]
    after = np.moveaxis(padded, axis, 0)[1:]
    crossings = np.argwhere(before != after)
    outward = before[tuple(crossings.T)]
    # In the moved order (axis, next, last) the blocks around the face are at -1 and 0 of the other two axes.
    strides = np.array([height * width, width, 1])
    moved = np.delete(strides, axis)
    base = crossings[:, 0] * strides[axis] + crossings[:, 1:] @ moved
    corners = [-moved[0] - moved[1], -moved[1], 0, -moved[0]]
    quads: NDArray[np.int64] = number[np.stack([base + step for step in corners], axis=-1)]
    # (next, last) turn counter-clockwise about +x and +z, clockwise about +y.
    flipped = outward if axis == 1 else ~outward
    quads[flipped] = quads[flipped][:, ::-1]
    return quads


def transformed(surface: Surface, linear: NDArray[Any], offset: NDArray[Any]) -> Surface:
    """Return the surface under the similarity p -> p @ linear + offset (row vectors); normals turn with it."""
    turned = surface.normals @ linear
    lengths = np.linalg.norm(turned, axis=1, keepdims=True)
    return Surface(surface.points @ linear + offset, turned / np.maximum(lengths, 1e-300))
