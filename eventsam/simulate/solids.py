"""Watertight building blocks: solids of revolution, extruded polygons and bent tubes as triangle lists."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Solid:
    """A closed triangle mesh, faces counter-clockwise seen from outside: vertices (V, 3), faces (F, 3)."""

    vertices: FloatArray
    faces: IntArray

    def moved(self, offset: ArrayLike) -> "Solid":
        """Return the solid shifted by a 3-vector."""
        return Solid(self.vertices + np.asarray(offset, dtype=np.float64), self.faces)

    def scaled(self, factors: ArrayLike) -> "Solid":
        """Return the solid with its axes stretched by three positive factors."""
        return Solid(self.vertices * np.asarray(factors, dtype=np.float64), self.faces)

    def rotated(self, axis: int, angle_deg: float) -> "Solid":
        """Return the solid turned about coordinate axis 0, 1 or 2, right-handed."""
        cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
        rotation = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        rotation[first, first] = rotation[second, second] = cosine
        rotation[first, second], rotation[second, first] = -sine, sine
        return Solid(self.vertices @ rotation.T, self.faces)


def _grid_faces(num_rows: int, num_columns: int) -> IntArray:
    """Triangles of a grid of vertices that closes on itself along its columns: (2 * (rows - 1) * columns, 3)."""
    row, column = np.meshgrid(np.arange(num_rows - 1), np.arange(num_columns), indexing="ij")
    following = (column + 1) % num_columns
    a, b = row * num_columns + column, row * num_columns + following
    c, d = a + num_columns, b + num_columns
    quads = np.stack([a, b, d, a, d, c], axis=-1)
    return quads.reshape(-1, 3).astype(np.int32)


def revolve(profile: ArrayLike, num_sections: int = 32) -> Solid:
    """Turn a profile of (radius, z) points, lowest on the axis to highest on the axis, about z.

    The first and the last point must lie on the axis (radius 0); the points between must not. A profile that runs up
    the outside and down into a cavity makes a vessel.
    """
    points = np.asarray(profile, dtype=np.float64)
    if points.shape[0] < 3 or points[0, 0] != 0 or points[-1, 0] != 0 or (points[1:-1, 0] <= 0).any():
        raise ValueError(f"a profile starts and ends on the axis and stays off it between, got radii {points[:, 0]}")
    angle = np.arange(num_sections) * (2 * np.pi / num_sections)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    inner = points[1:-1]
    xy = inner[:, None, :1] * ring[None]
    z = np.broadcast_to(inner[:, None, 1:], (len(inner), num_sections, 1))
    body = np.concatenate([xy, z], axis=-1).reshape(-1, 3)
    vertices = np.concatenate([body, [[0, 0, points[0, 1]], [0, 0, points[-1, 1]]]])
    bottom, top = len(body), len(body) + 1
    first = np.arange(num_sections)
    following = (first + 1) % num_sections
    last = (len(inner) - 1) * num_sections
    lower_cap = np.stack([np.full_like(first, bottom), following, first], axis=-1)
    upper_cap = np.stack([np.full_like(first, top), last + first, last + following], axis=-1)
    faces = np.concatenate([_grid_faces(len(inner), num_sections), lower_cap, upper_cap])
    return Solid(vertices, faces.astype(np.int32))


def extrude(polygon: ArrayLike, height: float) -> Solid:
    """Raise a convex counter-clockwise polygon of (x, y) points from z = -height/2 to height/2."""
    points = np.asarray(polygon, dtype=np.float64)
    num = len(points)
    low = np.column_stack([points, np.full(num, -height / 2)])
    high = np.column_stack([points, np.full(num, height / 2)])
    fan = np.stack([np.zeros(num - 2, dtype=np.int64), np.arange(1, num - 1), np.arange(2, num)], axis=-1)
    faces = np.concatenate([_grid_faces(2, num), fan[:, ::-1], fan + num])
    return Solid(np.concatenate([low, high]), faces.astype(np.int32))


def box(size: ArrayLike) -> Solid:
    """A box of three side lengths centred on the origin."""
    x, y, z = np.asarray(size, dtype=np.float64) / 2
    return extrude([[-x, -y], [x, -y], [x, y], [-x, y]], 2 * float(z))


def wedge(size: ArrayLike) -> Solid:
    """A ramp: a triangular prism lying in the box of three side lengths, its slope towards +x."""
    x, y, z = np.asarray(size, dtype=np.float64)
    lying = extrude([[-x / 2, -z / 2], [x / 2, -z / 2], [-x / 2, z / 2]], float(y))
    return lying.rotated(0, 90.0)


def regular_prism(num_sides: int, radius: float, height: float) -> Solid:
    """A prism over a regular polygon."""
    angle = np.arange(num_sides) * (2 * np.pi / num_sides)
    return extrude(radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1), height)


def cylinder(radius: float, height: float, top_radius: float | None = None) -> Solid:
    """A cylinder centred on the origin, or a frustum where a top radius is given."""
    top = radius if top_radius is None else top_radius
    return revolve([[0, -height / 2], [radius, -height / 2], [top, height / 2], [0, height / 2]])


def cone(radius: float, height: float) -> Solid:
    """A cone with its base at z = -height/2."""
    return revolve([[0, -height / 2], [radius, -height / 2], [0, height / 2]])


def ellipsoid(radii: ArrayLike, num_rings: int = 15) -> Solid:
    """An ellipsoid of three radii centred on the origin."""
    polar = np.linspace(0, np.pi, num_rings + 2)
    profile = np.stack([np.sin(polar), -np.cos(polar)], axis=-1)
    profile[[0, -1], 0] = 0
    return revolve(profile).scaled(radii)


def capsule(radius: float, length: float, num_rings: int = 8) -> Solid:
    """A cylinder of the given length with half spheres on both ends."""
    polar = np.linspace(0, np.pi / 2, num_rings)
    lower = np.stack([radius * np.sin(polar), -length / 2 - radius * np.cos(polar)], axis=-1)
    upper = lower[::-1] * [1, -1]
    profile = np.concatenate([lower, upper])
    profile[[0, -1], 0] = 0
    return revolve(profile)


def torus(radius: float, tube_radius: float, num_sections: int = 32, num_ring: int = 16) -> Solid:
    """A ring in the x-y plane; `radius` runs to the middle of the tube."""
    rows = _tube_rings(radius, tube_radius, np.arange(num_sections + 1) * (2 * np.pi / num_sections), num_ring)
    faces = _grid_faces(num_sections + 1, num_ring) % (num_sections * num_ring)
    return Solid(rows[: num_sections * num_ring], faces.astype(np.int32))


def arc_tube(radius: float, tube_radius: float, angle_deg: float, num_sections: int = 16, num_ring: int = 12) -> Solid:
    """Part of a ring in the x-y plane, from angle 0 to `angle_deg` (below 360), closed by flat ends."""
    rings = _tube_rings(radius, tube_radius, np.deg2rad(np.linspace(0.0, angle_deg, num_sections)), num_ring)
    start, stop = rings[:num_ring].mean(axis=0), rings[-num_ring:].mean(axis=0)
    first = np.arange(num_ring)
    following = (first + 1) % num_ring
    base = (num_sections - 1) * num_ring
    start_cap = np.stack([np.full_like(first, len(rings)), following, first], axis=-1)
    stop_cap = np.stack([np.full_like(first, len(rings) + 1), base + first, base + following], axis=-1)
    faces = np.concatenate([_grid_faces(num_sections, num_ring), start_cap, stop_cap])
    return Solid(np.concatenate([rings, [start, stop]]), faces.astype(np.int32))


def _tube_rings(radius: float, tube_radius: float, angles: FloatArray, num_ring: int) -> FloatArray:
    """Vertices of circles around the tube's middle line, one circle after another."""
    around = np.arange(num_ring) * (2 * np.pi / num_ring)
    # The circle runs so that (along the tube) x (around it) points outwards; `_grid_faces` then faces outwards.
    distance = radius + tube_radius * np.cos(around)
    z = np.broadcast_to(-tube_radius * np.sin(around), (len(angles), num_ring))
    x = np.cos(angles)[:, None] * distance
    y = np.sin(angles)[:, None] * distance
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)
