"""Textured triangle meshes: reading any file that trimesh reads, repair, normalisation, corner normals."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import trimesh
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.simulate.appearance import Appearance
from eventsam.simulate.mesh_appearance import read_appearance
from eventsam.simulate.mesh_repair import MAX_FILLED_SHARE, repair

Up = Literal["y", "z"]
SMOOTHING_ANGLE_DEG = 40.0
CUBE_SIDE = 0.96


@dataclass(frozen=True)
class TexturedMesh:
    """A coloured triangle mesh.

    vertices (V, 3) float32; faces (F, 3) int32, counter-clockwise from outside; `closed`: the faces bound a volume
    (overlapping closed parts are fine: their union is meant).
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    appearance: Appearance
    closed: bool = True

    def corner_normals(self) -> NDArray[np.float32]:
        """Unit normals (F, 3, 3) at the corners of each face, smoothed over edges below 40 degrees."""
        a, b, c = (self.vertices[self.faces[:, corner]].astype(np.float64) for corner in range(3))
        weighted = np.cross(b - a, c - a)
        corners = self.faces.ravel()
        order = np.argsort(corners, kind="stable")
        starts = np.searchsorted(corners[order], np.arange(len(self.vertices) + 1))
        limit = float(np.cos(np.deg2rad(SMOOTHING_ANGLE_DEG)))
        normals = np.empty((len(self.faces), 3, 3), np.float32)
        _corner_normals(self.faces, weighted, order // 3, starts, limit, normals)
        return normals


def normalise(vertices: NDArray[Any], up: Up = "z") -> NDArray[np.float32]:
    """Return vertices with z up, centred on the bounding box, scaled so that every yaw fits into [-.5, .5]^3.

    scale = 0.96 / max(2 * largest horizontal radius, height). Raises ValueError for a mesh without extent.
    """
    points = np.asarray(vertices, dtype=np.float64)
    if up == "y":
        points = np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=-1)
    elif up != "z":
        raise ValueError(f"unknown up axis {up!r} (allowed: y, z)")
    low, high = points.min(axis=0), points.max(axis=0)
    points = points - (low + high) / 2
    extent = max(2 * float(np.hypot(points[:, 0], points[:, 1]).max()), float(high[2] - low[2]))
    if not np.isfinite(extent) or extent <= 0:
        raise ValueError(f"a mesh needs a positive extent, got {extent}")
    normalised: NDArray[np.float32] = (points * (CUBE_SIDE / extent)).astype(np.float32)
    return normalised


def load_mesh(path: Path | str, up: Up = "y", *, seed: int = 0, allow_open: bool = False) -> TexturedMesh:
    """Read, repair and normalise a mesh file.

    Holes are closed by fans. Colours come from the file's texture, vertex, face or material colours, from the only
    picture beside a file that has texture coordinates but no picture, or else from a pattern drawn from `seed`.
    `allow_open` accepts a mesh that cannot be closed (`closed=False`; its occupancy is then a flood fill).
    Raises ValueError naming the file where it cannot be read, holds no triangles or stays open.
    """
    path = Path(path)
    raw = read_geometry(path)
    # Texture coordinates live on the corners of the file's own faces, so they are taken before vertices are merged.
    appearance = read_appearance(raw, path, seed)
    repaired = repair(raw.vertices, raw.faces)
    if not repaired.closed and not allow_open:
        raise ValueError(
            f"{path}: not watertight, and closing it would take lids over {repaired.filled_share:.0%} of the surface"
            f" (allowed: {MAX_FILLED_SHARE:.0%})"
        )
    try:
        vertices = normalise(repaired.vertices, up)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    chosen = appearance.select(repaired.origin_face, repaired.origin_corner)
    return TexturedMesh(vertices, repaired.faces.astype(np.int32), chosen, repaired.closed)


def read_geometry(path: Path) -> trimesh.Trimesh:
    """Read any mesh file as one mesh, a scene's parts joined in their places; raise ValueError naming the file."""
    if not path.is_file():
        raise ValueError(f"{path}: no such mesh file")
    try:
        loaded = trimesh.load(path, process=False)
        geometry = loaded.to_geometry() if isinstance(loaded, trimesh.Scene) else loaded
    except Exception as error:  # trimesh's loaders raise whatever the broken bytes lead to
        raise ValueError(f"{path}: not a readable mesh ({type(error).__name__}: {error})") from error
    if not isinstance(geometry, trimesh.Trimesh) or len(geometry.faces) == 0:
        raise ValueError(f"{path}: holds no triangles")
    if not np.isfinite(geometry.vertices).all():
        raise ValueError(f"{path}: has vertices that are not finite")
    return geometry


@compiled
def _corner_normals(
    faces: NDArray[np.int32],
    weighted: NDArray[np.float64],
    neighbours: NDArray[np.int64],
    starts: NDArray[np.int64],
    limit: float,
    output: NDArray[np.float32],
) -> None:
    """Sum the area-weighted normals of the faces around each corner whose angle to its own face is small."""
    for face in range(len(faces)):
        own_x, own_y, own_z = weighted[face, 0], weighted[face, 1], weighted[face, 2]
        own = max(np.sqrt(own_x * own_x + own_y * own_y + own_z * own_z), 1e-30)
        for corner in range(3):
            vertex = faces[face, corner]
            x, y, z = own_x * 1e-9, own_y * 1e-9, own_z * 1e-9
            for place in range(starts[vertex], starts[vertex + 1]):
                other = neighbours[place]
                other_x, other_y, other_z = weighted[other, 0], weighted[other, 1], weighted[other, 2]
                length = np.sqrt(other_x * other_x + other_y * other_y + other_z * other_z)
                if other_x * own_x + other_y * own_y + other_z * own_z >= limit * length * own:
                    x, y, z = x + other_x, y + other_y, z + other_z
            length = max(np.sqrt(x * x + y * y + z * z), 1e-30)
            output[face, corner, 0], output[face, corner, 1], output[face, corner, 2] = (
                x / length,
                y / length,
                z / length,
            )
