"""Randomised circular camera paths around an object, in the camera frame x left, y up, z forward."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled


@dataclass(frozen=True)
class Trajectory:
    """A camera that circles the object's vertical axis at a constant speed and looks at the object's centre.

    radius, in units of the object cube, is the distance from the centre; elevation is the camera's height as an angle.
    The aim may shake: a slow sinusoidal turn of the camera by up to `shake_deg` sideways and half of it up and down.
    `fov_deg` is the vertical field of view; frame i is taken at i * frame_interval_us.
    """

    radius: float
    elevation_deg: float
    azimuth_deg: float
    speed_deg_per_frame: float
    num_frames: int
    fov_deg: float
    frame_interval_us: int = 1000
    shake_deg: float = 0.0
    shake_period_frames: float = 40.0
    shake_phase_deg: float = 0.0

    def __post_init__(self) -> None:
        """Refuse paths that cannot be rendered."""
        if self.radius <= 0.75:
            raise ValueError(f"radius {self.radius} puts the camera into the object cube (allowed: above 0.75)")
        if not 0 < self.fov_deg < 170:
            raise ValueError(f"fov_deg is {self.fov_deg}, allowed: above 0 and below 170")
        if abs(self.elevation_deg) > 85:
            raise ValueError(f"elevation_deg is {self.elevation_deg}, allowed: -85 to 85")
        if self.num_frames < 1 or self.frame_interval_us < 1:
            raise ValueError(f"needs frames and an interval, got {self.num_frames} x {self.frame_interval_us} us")

    def times_us(self) -> NDArray[np.int64]:
        """Time of each frame: (T,) us, the first at 0."""
        return np.arange(self.num_frames, dtype=np.int64) * self.frame_interval_us

    def poses(self) -> NDArray[np.float32]:
        """Object frame to camera frame, column vectors: (T, 4, 4)."""
        frames = np.arange(self.num_frames)
        azimuth = np.deg2rad(self.azimuth_deg + self.speed_deg_per_frame * frames)
        elevation = np.deg2rad(self.elevation_deg)
        horizontal = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=-1) * np.cos(elevation)
        outward = np.concatenate([horizontal, np.full((self.num_frames, 1), np.sin(elevation))], axis=-1)
        forward = -outward
        left = np.cross([0.0, 0.0, 1.0], forward)
        left /= np.linalg.norm(left, axis=-1, keepdims=True)
        rotation = np.stack([left, np.cross(forward, left), forward], axis=1)
        rotation = self._shake(frames) @ rotation
        poses = np.zeros((self.num_frames, 4, 4), np.float32)
        poses[:, :3, :3] = rotation
        poses[:, :3, 3] = -np.einsum("tij,tj->ti", rotation, self.radius * outward)
        poses[:, 3, 3] = 1
        return poses

    def _shake(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """Turns of the camera about its own up and left axes: (T, 3, 3)."""
        phase = np.deg2rad(self.shake_phase_deg) + 2 * np.pi * frames / self.shake_period_frames
        pan = np.deg2rad(self.shake_deg) * np.sin(phase)
        tilt = np.deg2rad(self.shake_deg) / 2 * np.sin(1.7 * phase + 1.0)
        zero, one = np.zeros_like(pan), np.ones_like(pan)
        about_up = [[np.cos(pan), zero, np.sin(pan)], [zero, one, zero], [-np.sin(pan), zero, np.cos(pan)]]
        about_left = [[one, zero, zero], [zero, np.cos(tilt), -np.sin(tilt)], [zero, np.sin(tilt), np.cos(tilt)]]
        turned: NDArray[np.float64] = np.moveaxis(np.array(about_left), 2, 0) @ np.moveaxis(np.array(about_up), 2, 0)
        return turned


@dataclass(frozen=True)
class TrajectoryRanges:
    """What random paths are drawn from, uniformly: (low, high) of each quantity; the turning sense is a coin.

    `fill` is the share of the half image that the object's widest point of the whole path reaches: below 1 the object
    never leaves the frame.
    """

    radius: tuple[float, float] = (1.6, 2.6)
    elevation_deg: tuple[float, float] = (5.0, 45.0)
    azimuth_deg: tuple[float, float] = (0.0, 360.0)
    speed_deg_per_frame: tuple[float, float] = (1.0, 2.0)
    fill: tuple[float, float] = (0.85, 0.97)
    shake_deg: tuple[float, float] = (1.0, 4.0)
    shake_period_frames: tuple[float, float] = (40.0, 120.0)

    def draw(
        self, generator: np.random.Generator, vertices: NDArray[Any], num_frames: int, frame_interval_us: int = 1000
    ) -> Trajectory:
        """Draw a path whose field of view fits the object's vertices (V, 3) over all frames."""
        fill = float(generator.uniform(*self.fill))
        path = Trajectory(
            radius=float(generator.uniform(*self.radius)),
            elevation_deg=float(generator.uniform(*self.elevation_deg)),
            azimuth_deg=float(generator.uniform(*self.azimuth_deg)),
            speed_deg_per_frame=float(generator.uniform(*self.speed_deg_per_frame) * generator.choice([-1.0, 1.0])),
            num_frames=num_frames,
            fov_deg=90.0,
            frame_interval_us=frame_interval_us,
            shake_deg=float(generator.uniform(*self.shake_deg)),
            shake_period_frames=float(generator.uniform(*self.shake_period_frames)),
            shake_phase_deg=float(generator.uniform(0, 360)),
        )
        bounds = tangent_bounds(vertices, path.poses())
        widest = float(np.abs(bounds).max())
        fitted = float(np.rad2deg(2 * np.arctan(widest / fill)))
        return Trajectory(**{**vars(path), "fov_deg": fitted})


def tangent_bounds(vertices: NDArray[Any], poses: NDArray[np.float32]) -> NDArray[np.float64]:
    """Smallest and largest x/z and y/z of the vertices in each frame: (T, 4) as left-most x, x, y, y (low, high).

    Infinite where a vertex is not in front of the camera.
    """
    bounds = np.empty((len(poses), 4), np.float64)
    _tangent_bounds(np.ascontiguousarray(vertices, dtype=np.float32), poses, bounds)
    return bounds


@compiled
def _tangent_bounds(vertices: NDArray[np.float32], poses: NDArray[np.float32], bounds: NDArray[np.float64]) -> None:
    for frame in range(len(poses)):
        pose = poses[frame]
        low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
        for n in range(len(vertices)):
            x, y, z = vertices[n, 0], vertices[n, 1], vertices[n, 2]
            depth = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3]
            if depth <= 1e-6:
                low_x, high_x, low_y, high_y = -np.inf, np.inf, -np.inf, np.inf
                break
            across = (pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3]) / depth
            upward = (pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3]) / depth
            low_x, high_x = min(low_x, across), max(high_x, across)
            low_y, high_y = min(low_y, upward), max(high_y, upward)
        bounds[frame, 0], bounds[frame, 1] = low_x, high_x
        bounds[frame, 2], bounds[frame, 3] = low_y, high_y
