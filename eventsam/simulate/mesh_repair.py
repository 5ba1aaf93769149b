"""Closing meshes: a surface bounds a volume when every directed edge is matched by its reverse."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

MAX_FILLED_SHARE = 0.35
"""Holes whose lids would be a larger share of the closed surface are not defects: the mesh is a sheet."""


@dataclass(frozen=True)
class Repaired:
    """A mesh after repair; corner (i, j) takes its colours from corner `origin_corner[i, j]` of `origin_face[i, j]`.

    `filled_share` is the area of the added lids over the whole area; `closed` says that the faces bound a volume.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    origin_face: NDArray[np.int64]
    origin_corner: NDArray[np.int64]
    filled_share: float
    closed: bool


def open_edges(faces: NDArray[np.int64], num_vertices: int) -> NDArray[np.int64]:
    """Return rows (face, corner) of the directed edges that no reverse edge cancels: (E, 2), empty when closed."""
    start, stop = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    low, high = np.minimum(start, stop), np.maximum(start, stop)
    sign = np.where(start < stop, 1, -1)
    unique, inverse = np.unique(low * num_vertices + high, return_inverse=True)
    balance = np.bincount(inverse, weights=sign, minlength=len(unique)).round().astype(np.int64)
    # Of the edges of one pair, take as many as are in excess, in order.
    candidates = np.flatnonzero((balance[inverse] * sign) > 0)
    order = candidates[np.argsort(inverse[candidates], kind="stable")]
    groups = inverse[order]
    rank = np.arange(len(order)) - np.searchsorted(groups, groups)
    chosen = np.sort(order[rank < np.abs(balance[groups])])
    return np.stack([chosen // 3, chosen % 3], axis=-1)


def repair(vertices: NDArray[Any], faces: NDArray[Any]) -> Repaired:
    """Merge vertices of one position, drop degenerate and double faces, orient, close holes by fans, face outwards."""
    merged, kept = _clean(np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64))
    points, triangles = merged
    face = np.broadcast_to(kept[:, None], triangles.shape)
    corner = np.broadcast_to(np.arange(3), triangles.shape)
    flipped = _inconsistent(points, triangles)
    triangles = np.where(flipped[:, None], triangles[:, ::-1], triangles)
    corner = np.where(flipped[:, None], corner[:, ::-1], corner)
    points, lids, sources = _lids(points, triangles)
    whole = np.concatenate([triangles, lids])
    face = np.concatenate([face, face[sources[..., 0], sources[..., 1]]])
    corner = np.concatenate([corner, corner[sources[..., 0], sources[..., 1]]])
    if signed_volume(points, whole) < 0:
        whole, face, corner = whole[:, ::-1], face[:, ::-1], corner[:, ::-1]
    area = _areas(points, whole)
    share = float(area[len(triangles) :].sum() / max(area.sum(), 1e-300))
    closed = share <= MAX_FILLED_SHARE and signed_volume(points, whole) > 1e-9 * float(np.ptp(points)) ** 3
    return Repaired(points, np.ascontiguousarray(whole), face, corner, share, closed)


def signed_volume(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
    """Volume enclosed by a closed mesh; negative where its faces look inwards."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def _clean(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[tuple[NDArray[np.float64], NDArray[np.int64]], NDArray[np.int64]]:
    """One vertex per position, no degenerate faces, each face once; also which faces were kept."""
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.merge_vertices()
    points, triangles = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    ordered = np.sort(triangles, axis=1)
    proper = (ordered[:, 0] != ordered[:, 1]) & (ordered[:, 1] != ordered[:, 2])
    _, first = np.unique(ordered, axis=0, return_index=True)
    single = np.zeros(len(triangles), dtype=bool)
    single[first] = True
    kept = np.flatnonzero(proper & single)
    return (points, triangles[kept]), kept


def _inconsistent(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which faces must be turned over so that neighbours agree."""
    mesh = trimesh.Trimesh(points, triangles.copy(), process=False)
    if mesh.is_winding_consistent:
        return np.zeros(len(triangles), dtype=bool)
    trimesh.repair.fix_winding(mesh)
    turned: NDArray[np.bool_] = ~_same_cycle(np.asarray(mesh.faces, np.int64), triangles)
    return turned


def _same_cycle(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether two triangles over the same vertices run in the same direction."""
    same = np.zeros(len(first), dtype=bool)
    for shift in range(3):
        same |= (np.roll(first, shift, axis=1) == second).all(axis=1)
    return same


def _lids(
    points: NDArray[np.float64], triangles: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """A fan over each hole: points with the fans' centres, faces (K, 3), and (face, corner) each corner copies."""
    edges = open_edges(triangles, len(points))
    start = triangles[edges[:, 0], edges[:, 1]]
    stop = triangles[edges[:, 0], (edges[:, 1] + 1) % 3]
    loop = _loops(start, stop)
    num_loops = int(loop.max()) + 1 if len(loop) else 0
    centres = np.zeros((num_loops, 3))
    np.add.at(centres, loop, points[start])
    centres /= np.maximum(np.bincount(loop, minlength=num_loops), 1)[:, None]
    faces = np.stack([stop, start, len(points) + loop], axis=-1)
    following = np.stack([edges[:, 0], (edges[:, 1] + 1) % 3], axis=-1)
    sources = np.stack([following, edges, edges], axis=1)
    return np.concatenate([points, centres]), faces.reshape(-1, 3), sources.reshape(-1, 3, 2)


def _loops(start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the boundary edges by the simple cycles they form (every vertex is left as often as it is reached)."""
    leaving: dict[int, list[int]] = {}
    for edge, vertex in enumerate(start.tolist()):
        leaving.setdefault(vertex, []).append(edge)
    loop = np.full(len(start), -1, dtype=np.int64)
    num_loops = 0
    for first in range(len(start)):
        edge = first
        while loop[edge] < 0:
            loop[edge] = num_loops
            options = [candidate for candidate in leaving[int(stop[edge])] if loop[candidate] < 0]
            edge = options[0] if options else first
        num_loops = int(loop.max()) + 1
    return loop


def _areas(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    areas: NDArray[np.float64] = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return areas
