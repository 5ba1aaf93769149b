"""Turn the 3-D target to the camera's side: object frame to view frame."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.sample import Sample
from eventsam.simulate.occupancy import rotate_about_z
from eventsam.transforms.transform import require

_STEEP = 1e-6


@dataclass(frozen=True)
class AlignToView:
    """Rotate occupancy and pose about z so that the camera stands on the object's -y side.

    In that view frame the camera looks along +y, +x points to the right of the image and z stays up: what is to be
    predicted no longer depends on an object's arbitrary heading, which no image shows. `occupancy` is resampled to
    `resolution` cells per side; `pose` then maps the view frame to the camera, so p_cam stays what it was. Raises
    KeyError for an occupancy without a pose.
    """

    resolution: int

    def __post_init__(self) -> None:
        if self.resolution < 1:
            raise ValueError(f"resolution is {self.resolution}, allowed: 1 or more cells")

    @property
    def needs(self) -> tuple[str, ...]:
        """The camera's place relative to the object."""
        return ("pose",)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample in the view frame; draws nothing from `rng`."""
        aligned = dict(sample)
        if "pose" not in sample and "occupancy" not in sample:
            return aligned
        pose = require(sample, "pose", "AlignToView").astype(np.float64)
        yaw = yaw_to_view(pose)
        aligned["pose"] = (pose @ rotation_about_z(-yaw)).astype(np.float32)
        if "occupancy" in sample:
            turned = rotate_about_z(sample["occupancy"], yaw, self.resolution)
            aligned["occupancy"] = np.ascontiguousarray(turned)
        return aligned


def yaw_to_view(pose: NDArray[np.floating[Any]]) -> float:
    """Return the angle in (-pi, pi] by which to turn the object about z so that the camera of `pose` stands at -y.

    `pose` is (4, 4), object to camera (x left, y up, z forward). From straight above or below, where the camera
    has no horizontal direction, the image's right is turned to +x instead.
    """
    rotation, translation = pose[:3, :3], pose[:3, 3]
    camera = -rotation.T @ translation
    if math.hypot(camera[0], camera[1]) > _STEEP * max(1.0, float(np.linalg.norm(camera))):
        yaw = -math.pi / 2 - math.atan2(camera[1], camera[0])
    else:
        right = -rotation[0]
        yaw = -math.atan2(right[1], right[0])
    return math.pi - (math.pi - yaw) % (2 * math.pi)


def rotation_about_z(angle: float) -> NDArray[np.float64]:
    """Return the (4, 4) matrix that turns points by `angle` radians from x towards y."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return matrix
