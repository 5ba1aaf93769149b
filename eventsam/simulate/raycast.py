"""Embree scenes, camera rays and the compiled loops that turn hits into pixels."""

from dataclasses import dataclass

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.simulate.background import Panorama, panorama_colour
from eventsam.simulate.meshes import TexturedMesh

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class Hits:
    """Where rays met the mesh: `ray` (K,) their indexes, `face`, barycentric `u`, `v`, and `distance` along the ray."""

    ray: NDArray[np.int64]
    face: Int32
    u: Float32
    v: Float32
    distance: Float32


class Surface:
    """A mesh in an Embree scene (built once) with its appearance and smooth normals."""

    def __init__(self, mesh: TexturedMesh) -> None:
        """Build the scene."""
        self._mesh = mesh
        self._normals = mesh.corner_normals()
        self._scene = rtcore_scene.EmbreeScene()
        self._geometry = TriangleMesh(self._scene, mesh.vertices, mesh.faces)

    def cast(self, origins: Float32, directions: Float32) -> Hits:
        """Return the nearest hits of rays (N, 3); distances are in lengths of the given directions."""
        answer = self._scene.run(origins, directions, query="INTERSECT", output=1)
        ray = np.flatnonzero(answer["primID"] >= 0)
        return Hits(ray, answer["primID"][ray], answer["u"][ray], answer["v"][ray], answer["tfar"][ray])

    def shade(self, hits: Hits, origins: Float32, directions: Float32, lamp: Float32, ambient: float) -> Float32:
        """Return the colours (K, 3) in [0, 1] of hits under a distant lamp and ambient light."""
        points = np.empty((len(hits.ray), 3), np.float32)
        _hit_points(hits.ray, hits.distance, origins, directions, points)
        colours = self._mesh.appearance.colours(hits.face, hits.u, hits.v, points)
        _light(hits.ray, hits.face, hits.u, hits.v, directions, self._normals, lamp, np.float32(ambient), colours)
        return colours


def camera_rays(
    pixels: Int32, offset: Float32, poses: Float32, focal: float, size: tuple[int, int]
) -> tuple[Float32, Float32]:
    """Rays in the object frame through `pixels` (N, 3) of (frame, row, column), moved by (row, column) `offset`.

    Directions have length 1 along the camera's z, so that a hit's distance is its depth.
    """
    origins = np.empty((len(pixels), 3), np.float32)
    directions = np.empty((len(pixels), 3), np.float32)
    rotations = np.ascontiguousarray(poses[:, :3, :3])
    centres = -np.einsum("tji,tj->ti", rotations, poses[:, :3, 3]).astype(np.float32)
    _camera_rays(pixels, offset, rotations, centres, focal, size[0], size[1], origins, directions)
    return origins, directions


def paint_background(panorama: Panorama, poses: Float32, focal: float, size: tuple[int, int]) -> Float32:
    """The panorama behind every pixel centre: (T, H, W, 3)."""
    image = np.empty((len(poses), *size, 3), np.float32)
    _paint_background(panorama.image, np.ascontiguousarray(poses[:, :3, :3]), focal, image)
    return image


def box_pixels(boxes: Int32) -> Int32:
    """All (frame, row, column) inside boxes (T, 4) of half-open rows and columns (top, bottom, left, right)."""
    counts = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    pixels = np.empty((int(counts.sum()), 3), np.int32)
    _box_pixels(boxes, pixels)
    return pixels


def contrast_pixels(image: Float32, depth: Float32, boxes: Int32, contrast: float) -> Int32:
    """Pixels (K, 3) whose colour differs from a direct neighbour's by more than `contrast`, or on the silhouette."""
    marked = np.zeros(image.shape[:3], np.uint8)
    _mark_contrast(image, depth, boxes, np.float32(contrast), marked)
    return np.argwhere(marked).astype(np.int32)


def write_hits(image: Float32, depth: Float32, pixels: Int32, hits: Hits, colours: Float32) -> None:
    """Put the colours and depths of hits into their pixels."""
    frame, row, column = pixels[hits.ray].T
    image[frame, row, column] = colours
    depth[frame, row, column] = hits.distance


@compiled
def add_subsample(total: Float32, behind: Float32, pixels: Int32, rays: NDArray[np.int64], colours: Float32) -> None:
    """Add one more ray per pixel to `total` (K, 3): its colour where it hit, else the background behind the pixel."""
    place = 0
    for n in range(len(pixels)):
        if place < len(rays) and rays[place] == n:
            for channel in range(3):
                total[n, channel] += colours[place, channel]
            place += 1
        else:
            for channel in range(3):
                total[n, channel] += behind[pixels[n, 0], pixels[n, 1], pixels[n, 2], channel]


@compiled
def _camera_rays(
    pixels: Int32,
    offset: Float32,
    rotations: Float32,
    centres: Float32,
    focal: float,
    height: int,
    width: int,
    origins: Float32,
    directions: Float32,
) -> None:
    for n in range(len(pixels)):
        frame = pixels[n, 0]
        left = np.float32((width / 2 - (pixels[n, 2] + 0.5 + offset[1])) / focal)
        up = np.float32((height / 2 - (pixels[n, 1] + 0.5 + offset[0])) / focal)
        for axis in range(3):
            origins[n, axis] = centres[frame, axis]
            directions[n, axis] = (
                rotations[frame, 0, axis] * left + rotations[frame, 1, axis] * up + rotations[frame, 2, axis]
            )


@compiled
def _paint_background(panorama: Float32, rotations: Float32, focal: float, image: Float32) -> None:
    num_frames, height, width = image.shape[0], image.shape[1], image.shape[2]
    for frame in range(num_frames):
        rotation = rotations[frame]
        for row in range(height):
            up = (height / 2 - (row + 0.5)) / focal
            for column in range(width):
                left = (width / 2 - (column + 0.5)) / focal
                x = rotation[0, 0] * left + rotation[1, 0] * up + rotation[2, 0]
                y = rotation[0, 1] * left + rotation[1, 1] * up + rotation[2, 1]
                z = rotation[0, 2] * left + rotation[1, 2] * up + rotation[2, 2]
                panorama_colour(panorama, x, y, z, image[frame, row, column])


@compiled
def _box_pixels(boxes: Int32, pixels: Int32) -> None:
    place = 0
    for frame in range(len(boxes)):
        for row in range(boxes[frame, 0], boxes[frame, 1]):
            for column in range(boxes[frame, 2], boxes[frame, 3]):
                pixels[place, 0], pixels[place, 1], pixels[place, 2] = frame, row, column
                place += 1


@compiled
def _hit_points(
    ray: NDArray[np.int64], distance: Float32, origins: Float32, directions: Float32, points: Float32
) -> None:
    for k in range(len(ray)):
        for axis in range(3):
            points[k, axis] = origins[ray[k], axis] + distance[k] * directions[ray[k], axis]


@compiled
def _light(
    ray: NDArray[np.int64],
    face: Int32,
    u: Float32,
    v: Float32,
    directions: Float32,
    normals: Float32,
    lamp: Float32,
    ambient: np.float32,
    colours: Float32,
) -> None:
    """Multiply colours by ambient + (1 - ambient) * cos(angle to the lamp), on the side that the ray sees."""
    for k in range(len(ray)):
        corner = normals[face[k]]
        first = np.float32(1) - u[k] - v[k]
        length, towards, facing = np.float32(0), np.float32(0), np.float32(0)
        for axis in range(3):
            value = first * corner[0, axis] + u[k] * corner[1, axis] + v[k] * corner[2, axis]
            length += value * value
            towards += value * lamp[axis]
            facing += value * directions[ray[k], axis]
        cosine = towards / np.sqrt(max(length, np.float32(1e-20)))
        if facing > 0:
            cosine = -cosine
        strength = ambient + (np.float32(1) - ambient) * max(cosine, np.float32(0))
        for channel in range(3):
            colours[k, channel] *= strength


@compiled
def _mark_contrast(
    image: Float32, depth: Float32, boxes: Int32, contrast: np.float32, marked: NDArray[np.uint8]
) -> None:
    height, width = image.shape[1], image.shape[2]
    for frame in range(len(boxes)):
        top, left = max(boxes[frame, 0] - 1, 0), max(boxes[frame, 2] - 1, 0)
        bottom, right = min(boxes[frame, 1] + 1, height), min(boxes[frame, 3] + 1, width)
        for row in range(top, bottom):
            for column in range(left, right):
                for step in range(2):
                    below, beside = row + (step == 0), column + (step == 1)
                    if below >= height or beside >= width:
                        continue
                    covered = depth[frame, row, column] < np.inf
                    differs = covered != (depth[frame, below, beside] < np.inf)
                    if not differs and covered:
                        for channel in range(3):
                            gap = image[frame, row, column, channel] - image[frame, below, beside, channel]
                            differs = differs or abs(gap) > contrast
                    if differs:
                        marked[frame, row, column] = 1
                        marked[frame, below, beside] = 1
