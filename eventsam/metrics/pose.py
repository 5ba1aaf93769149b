"""Errors of an object's pose: ADD, ADD-S, rotation, translation, scale; poses act on row vectors."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventsam.metrics.nearest import PointIndex
from eventsam.metrics.state import MetricState, PerSample


class Pose(Protocol):
    """What the metrics need of a pose: the fields of `ObjectPose`."""

    @property
    def rotation(self) -> Tensor:
        """(B, 3, 3)."""

    @property
    def translation(self) -> Tensor:
        """(B, 3)."""

    @property
    def scale(self) -> Tensor:
        """(B, 3)."""


class ObjectPose(NamedTuple):
    """Object to camera, on row vectors: p_camera = (scale * p_object) @ rotation + translation.

    rotation (B, 3, 3), orthonormal; translation (B, 3); scale (B, 3), one per object axis. Column-vector rotations are
    this one's transposes (spec of SAM 3D, pose decoding).
    """

    rotation: Tensor
    translation: Tensor
    scale: Tensor

    def apply(self, points: Tensor) -> Tensor:
        """Return object points (B, N, 3) in the camera frame."""
        return (points * self.scale[:, None]) @ self.rotation + self.translation[:, None]


def pose_from_matrix(pose: Tensor) -> ObjectPose:
    """Return the pose of (B, 4, 4) object-to-camera matrices on column vectors (the sample key `pose`).

    Raises ValueError for another shape.
    """
    if pose.ndim != 3 or pose.shape[1:] != (4, 4):
        raise ValueError(f"expected poses (B, 4, 4), got {tuple(pose.shape)}")
    linear = pose[:, :3, :3]
    scale = torch.linalg.vector_norm(linear, dim=1)
    return ObjectPose((linear / scale[:, None]).transpose(1, 2), pose[:, :3, 3], scale)


@torch.no_grad()
def pose_metrics(
    prediction: Pose, truth: Pose, points: list[NDArray[np.float64]], sample_index: Tensor
) -> dict[str, MetricState]:
    """Return per-sample states of the errors below; `points` holds every object's own surface points (N, 3).

    "error_rotation_deg": the angle of the turn between the two. "error_translation": the distance of the origins, in
    the camera's unit. "error_scale": the mean over axes of |log ratio|. "error_add": the mean distance of the same
    points under both poses; "error_add_s": of each predicted point to the nearest true one, which forgives symmetry
    (Hinterstoisser et al. 2012; Xiang et al. 2018); both as shares of the true object's diameter. Raises ValueError
    where the batch sizes differ.
    """
    if not len(prediction.rotation) == len(truth.rotation) == len(points) == len(sample_index):
        raise ValueError(
            f"{len(prediction.rotation)} predicted poses, {len(truth.rotation)} true ones, {len(points)} objects, "
            f"{len(sample_index)} sample indices; expected one of each per sample"
        )
    errors = {
        "error_rotation_deg": rotation_angle_deg(prediction.rotation, truth.rotation).tolist(),
        "error_translation": (prediction.translation - truth.translation).double().norm(dim=-1).tolist(),
        "error_scale": (prediction.scale.double() / truth.scale.double()).log().abs().mean(dim=-1).tolist(),
    }
    adds = [_add(_one(prediction, n), _one(truth, n), cloud) for n, cloud in enumerate(points)]
    errors |= {"error_add": [add for add, _ in adds], "error_add_s": [add_s for _, add_s in adds]}
    indices = sample_index.cpu().numpy()
    return {name: PerSample(indices, values) for name, values in errors.items()}


def rotation_angle_deg(first: Tensor, second: Tensor) -> Tensor:
    """Return the geodesic distance (B,) float64 in degrees, 0 to 180, of rotations (B, 3, 3).

    From the chord, |R1 - R2| = sqrt(8) sin(angle / 2): exact for small angles, unlike the arc cosine of the trace.
    """
    chord = (first.double() - second.double()).flatten(1).norm(dim=1) / 8**0.5
    return torch.rad2deg(2 * torch.asin(chord.clamp(max=1.0)))


def _one(pose: Pose, n: int) -> ObjectPose:
    parts = (pose.rotation, pose.translation, pose.scale)
    return ObjectPose(*(part[n : n + 1].double().cpu() for part in parts))


def _add(prediction: ObjectPose, truth: ObjectPose, points: NDArray[np.float64]) -> tuple[float, float]:
    """ADD and ADD-S of one object in shares of its diameter, taken as the diagonal of its box."""
    cloud = torch.as_tensor(points, dtype=torch.float64)[None]
    ours, theirs = (pose.apply(cloud)[0].numpy() for pose in (prediction, truth))
    scaled = points * truth.scale[0].numpy()
    diameter = float(np.linalg.norm(scaled.max(axis=0) - scaled.min(axis=0)))
    same = float(np.linalg.norm(ours - theirs, axis=1).mean())
    nearest = float(PointIndex(theirs).nearest(ours).distance.mean())
    return same / diameter, nearest / diameter
