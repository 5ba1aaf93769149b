"""Meshes and camera paths to frames, masks and depths by CPU ray casting."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eventsam.simulate.background import Panorama
from eventsam.simulate.meshes import TexturedMesh
from eventsam.simulate.raycast import (
    Surface,
    add_subsample,
    box_pixels,
    camera_rays,
    contrast_pixels,
    paint_background,
    write_hits,
)
from eventsam.simulate.trajectory import Trajectory, tangent_bounds

SUBPIXELS = np.array([[-0.375, -0.125], [-0.125, 0.375], [0.125, -0.375], [0.375, 0.125]], np.float32)
"""(row, column) offsets of the rays of a refined pixel: a rotated grid, no two in one row or column."""


@dataclass(frozen=True)
class Lighting:
    """A distant lamp fixed in the object frame plus light from everywhere; `direction` points to the lamp."""

    direction: tuple[float, float, float]
    ambient: float

    @classmethod
    def draw(cls, generator: np.random.Generator) -> "Lighting":
        """Draw a lamp above the horizon and its share."""
        azimuth, height = generator.uniform(0, 2 * np.pi), generator.uniform(0.3, 0.9)
        across = np.sqrt(1 - height**2)
        direction = (float(across * np.cos(azimuth)), float(across * np.sin(azimuth)), float(height))
        return cls(direction, float(generator.uniform(0.35, 0.55)))


@dataclass(frozen=True)
class Rendering:
    """The frames of one path: `image` (T, H, W, 3) float32 in grey levels 0..255, `depth` (T, H, W) float32 along the
    camera's z at the pixel centres, infinite where no object is; `focal` in pixels.
    """

    image: NDArray[np.float32]
    depth: NDArray[np.float32]
    focal: float

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """Frames for storage: (T, 3, H, W)."""
        return to_uint8(self.image)

    @property
    def mask(self) -> NDArray[np.uint8]:
        """1 where the ray through the pixel's centre meets the object: (T, 1, H, W)."""
        return np.isfinite(self.depth).astype(np.uint8)[:, None]

    @property
    def pointmap(self) -> NDArray[np.float32]:
        """Camera-frame points (x left, y up, z forward), NaN outside the object: (T, 3, H, W)."""
        return pointmap_of(self.depth, self.focal)

    def luminance(self) -> NDArray[np.float32]:
        """Rec. 601 luma of the unrounded frames: (T, H, W) float32 in 0..255."""
        luma = self.image @ np.array([0.299, 0.587, 0.114], np.float32)
        return np.minimum(luma, np.float32(255))


def to_uint8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round grey levels (..., H, W, 3) to (..., 3, H, W)."""
    rounded = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(rounded, -1, -3))


def pointmap_of(depth: NDArray[np.float32], focal: float) -> NDArray[np.float32]:
    """Unproject depths (T, H, W) through pixel centres: (T, 3, H, W), NaN where the depth is infinite."""
    height, width = depth.shape[-2:]
    left = (width / 2 - (np.arange(width, dtype=np.float32) + 0.5)) / focal
    up = (height / 2 - (np.arange(height, dtype=np.float32) + 0.5)) / focal
    finite = np.where(np.isfinite(depth), depth, np.float32(np.nan))
    points: NDArray[np.float32] = np.stack([finite * left, finite * up[:, None], finite], axis=1).astype(np.float32)
    return points


class Renderer(Protocol):
    """Draws a mesh along a path. Another backend (a path tracer, say) is another class with this method."""

    def render(self, mesh: TexturedMesh, trajectory: Trajectory, lighting: Lighting, background: Panorama) -> Rendering:
        """Return the frames; raise ValueError naming the frame where the object leaves the image or is not seen."""


@dataclass(frozen=True)
class RaycastRenderer:
    """Embree rays, Lambert shading with smooth normals, edges refined where neighbouring pixels differ.

    One ray goes through every pixel centre; pixels whose colour differs from a neighbour's by more than
    `refine_contrast` grey levels get four more, so that edges move smoothly: an event sensor sees every step.
    Infinity turns refinement off.
    """

    height: int = 64
    width: int = 64
    refine_contrast: float = 16.0

    def render(self, mesh: TexturedMesh, trajectory: Trajectory, lighting: Lighting, background: Panorama) -> Rendering:
        """See `Renderer.render`."""
        poses, size = trajectory.poses(), (self.height, self.width)
        focal = self.height / 2 / float(np.tan(np.deg2rad(trajectory.fov_deg) / 2))
        boxes = self._boxes(mesh, poses, focal)
        pixels = box_pixels(boxes)
        surface = Surface(mesh)
        lamp = np.array(lighting.direction, np.float32)
        behind = paint_background(background, poses, focal, size)
        image, depth = behind.copy(), np.full(behind.shape[:3], np.inf, np.float32)
        rays = camera_rays(pixels, np.zeros(2, np.float32), poses, focal, size)
        hits = surface.cast(*rays)
        write_hits(image, depth, pixels, hits, surface.shade(hits, *rays, lamp, lighting.ambient))
        self._check_seen(depth)
        if np.isfinite(self.refine_contrast):
            edges = contrast_pixels(image, depth, boxes, self.refine_contrast / 255)
            total = image[tuple(edges.T)]
            for offset in SUBPIXELS:
                rays = camera_rays(edges, offset, poses, focal, size)
                hits = surface.cast(*rays)
                colours = surface.shade(hits, *rays, lamp, lighting.ambient)
                add_subsample(total, behind, edges, hits.ray, colours)
            image[tuple(edges.T)] = total / np.float32(1 + len(SUBPIXELS))
        image *= 255
        return Rendering(image, depth, focal)

    def _boxes(self, mesh: TexturedMesh, poses: NDArray[np.float32], focal: float) -> NDArray[np.int32]:
        """Rows and columns that the object can touch: (T, 4) as top, bottom, left, right, half-open."""
        bounds = tangent_bounds(mesh.vertices, poses)
        # x runs to the left and y up, so the largest x/z is the left-most column and the largest y/z the top row.
        left, right = self.width / 2 - focal * bounds[:, 1], self.width / 2 - focal * bounds[:, 0]
        top, bottom = self.height / 2 - focal * bounds[:, 3], self.height / 2 - focal * bounds[:, 2]
        outside = (left < 0) | (right > self.width) | (top < 0) | (bottom > self.height)
        if outside.any():
            frame = int(np.argmax(outside))
            reach = [round(float(edge[frame]), 1) for edge in (top, bottom, left, right)]
            raise ValueError(
                f"frame {frame}: the object leaves the {self.height}x{self.width} image"
                f" (top, bottom, left, right in pixels: {reach})"
            )
        boxes = np.stack([np.floor(top), np.ceil(bottom), np.floor(left), np.ceil(right)], axis=-1)
        return boxes.astype(np.int32)

    def _check_seen(self, depth: NDArray[np.float32]) -> None:
        covered = np.isfinite(depth).any(axis=(1, 2))
        if not covered.all():
            raise ValueError(f"frame {int(np.argmin(covered))}: empty mask, no ray meets the object")
