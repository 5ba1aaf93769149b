"""Pose latents decoded to an object's place in the camera frame, and back; rotations act on row vectors.

Object frame: the cube [-0.5, 0.5]^3, z up. Camera frame: x left, y up, z forward.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from eventsam.models.sam3d.latents import POSE_CHANNELS, ROTATION, SCALE, TRANSLATION, TRANSLATION_SCALE
from eventsam.models.sam3d.rotation import from_rot6d, matrix_to_quaternion, to_rot6d
from eventsam.unknown_name import unknown_name

ROTATION_MEAN = (-0.06366085, 0.00843822, 0.00017085, 0.00071266, -0.00309167, 0.51660938)
ROTATION_STD = (0.66569720, 0.67870123, 0.30345011, 0.43945044, 0.39817974, 0.61762869)
"""Of the six numbers of a rotation over the training data of SAM 3D Objects (arXiv 2511.16624, released values)."""

RELEASED = "ScaleShiftInvariant"
CONVENTIONS = (RELEASED,)
"""What the latents mean, by upstream's names: the ones that can be decoded."""
UNDEFINED_CONVENTIONS = (
    "ScaleShiftInvariantWTranslationScale",
    "DisparitySpace",
    "ApparentSize",
    "NormalizedSceneScale",
    "NormalizedSceneTranslationScale",
    "Naive",
    "Identity",
)
"""Names that checkpoints may carry, whose definition is not published completely."""


class Pose(NamedTuple):
    """Where B objects are: p_cam = (scale * p_obj) @ rotation + translation for row vectors p.

    `rotation` (B, 3, 3), orthonormal, determinant 1; `quaternion` (B, 4) of the same matrix, real part first and not
    negative; `translation` (B, 3) and `scale` (B, 3) in the units of the pointmap.
    """

    rotation: Tensor
    quaternion: Tensor
    translation: Tensor
    scale: Tensor

    def to_camera(self, points: Tensor) -> Tensor:
        """Map points (B, N, 3) of the object frame to the camera frame."""
        return (points * self.scale[:, None]) @ self.rotation + self.translation[:, None]

    def to_object(self, points: Tensor) -> Tensor:
        """Map points (B, N, 3) of the camera frame to the object frame."""
        return (points - self.translation[:, None]) @ self.rotation.mT / self.scale[:, None]

    def matrix(self) -> Tensor:
        """Return (B, 4, 4) for column vectors, object to camera, as the sample key "pose" holds it."""
        linear = self.rotation.mT * self.scale[:, None]
        last = linear.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(linear), 1, 4)
        return torch.cat([torch.cat([linear, self.translation[..., None]], dim=-1), last], dim=1)


def pose_from_matrix(matrix: Tensor) -> Pose:
    """Return the pose that (B, 4, 4) matrices for column vectors, object to camera, describe.

    Raises ValueError for one that is no rotation with a positive scale per axis.
    """
    matrix = _precise(matrix)
    linear = matrix[:, :3, :3]
    scale = linear.norm(dim=1)
    if not bool((scale > 0).all()):
        raise ValueError(f"the linear part of a pose has a column of length 0 or NaN: lengths {scale.tolist()}")
    rotation = (linear / scale[:, None]).mT
    check_rotation(rotation)
    return Pose(rotation, matrix_to_quaternion(rotation), matrix[:, :3, 3], scale)


def decode_pose(
    latents: Mapping[str, Tensor], pointmap_scale: Tensor, pointmap_shift: Tensor, convention: str = RELEASED
) -> Pose:
    """Return the metric pose of pose latents (B, 1, C); the latents themselves are left as they are.

    `pointmap_scale` (B,), (B, 1) or (B, 3) and `pointmap_shift` (B, 3) are those that normalised the pointmap. In the
    released convention translation = t * pointmap_scale + pointmap_shift and scale = mean over axes of exp(s), times
    pointmap_scale, the same for all axes; `translation_scale` is not used. The six numbers of the rotation span, by
    Gram-Schmidt, the first two *columns* of `rotation`; two parallel vectors give NaN.

    Computed in float32 or wider. Raises ValueError for an unknown convention and for wrong shapes, KeyError for a
    missing latent.
    """
    check_convention(convention)
    rotation, translation, log_scale = (_latent(latents, name) for name in (ROTATION, TRANSLATION, SCALE))
    factor, shift = _normalisation(pointmap_scale, pointmap_shift, len(rotation))
    matrix = from_rot6d(rotation * rotation.new_tensor(ROTATION_STD) + rotation.new_tensor(ROTATION_MEAN))
    scale = log_scale.exp().mean(dim=-1, keepdim=True) * factor
    return Pose(matrix, matrix_to_quaternion(matrix), translation * factor + shift, scale.expand(-1, 3))


def encode_pose(
    pose: Pose, pointmap_scale: Tensor, pointmap_shift: Tensor, convention: str = RELEASED
) -> dict[str, Tensor]:
    """Return the four pose latents (B, 1, C) that `decode_pose` turns back into `pose`; arguments as there.

    `translation_scale`, which the released convention does not use, is 0. `pose.quaternion` is not read.

    Raises ValueError where the convention cannot say the pose: a rotation that is none, a scale that is not positive
    or differs between the axes.
    """
    check_convention(convention)
    rotation, translation, scale = (_precise(part) for part in (pose.rotation, pose.translation, pose.scale))
    check_rotation(rotation)
    factor, shift = _normalisation(pointmap_scale, pointmap_shift, len(rotation))
    relative = scale / factor
    if not bool((relative > 0).all()):
        raise ValueError(f"scales must be positive, got {scale.tolist()} for pointmap scales {factor.tolist()}")
    mean = relative.mean(dim=-1, keepdim=True)
    if not bool(((relative - mean).abs() <= 1e-3 * mean).all()):
        raise ValueError(f"{convention} has one scale for all axes, got {relative.tolist()} times the pointmap's")
    numbers = (to_rot6d(rotation) - rotation.new_tensor(ROTATION_MEAN)) / rotation.new_tensor(ROTATION_STD)
    return {
        ROTATION: numbers[:, None],
        TRANSLATION: ((translation - shift) / factor)[:, None],
        SCALE: relative.log()[:, None],
        TRANSLATION_SCALE: translation.new_zeros(len(translation), 1, 1),
    }


def check_convention(name: str) -> None:
    """Raise ValueError for a pose convention that cannot be decoded, with the reason or the nearest name."""
    if name in UNDEFINED_CONVENTIONS:
        raise ValueError(
            f"pose convention {name!r} cannot be decoded: upstream names it, but what it does to the latents is not "
            f"published completely (allowed: {', '.join(CONVENTIONS)})"
        )
    if name not in CONVENTIONS:
        raise ValueError(unknown_name("pose convention", name, CONVENTIONS))


def check_rotation(rotation: Tensor, tolerance: float = 1e-3) -> None:
    """Raise ValueError where one of (B, 3, 3) matrices is not orthonormal with determinant 1."""
    eye = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    error = (rotation @ rotation.mT - eye).abs().amax(dim=(1, 2))
    determinant = torch.linalg.det(rotation)
    bad = ~((error <= tolerance) & ((determinant - 1).abs() <= tolerance))
    if bool(bad.any()):
        which = bad.nonzero().flatten().tolist()
        raise ValueError(f"poses {which} hold no rotation: determinants {determinant[bad].tolist()}, allowed: 1")


def _latent(latents: Mapping[str, Tensor], name: str) -> Tensor:
    channels = POSE_CHANNELS[name]
    if name not in latents:
        raise KeyError(unknown_name("latent, not among the given ones:", name, latents))
    latent = latents[name]
    if latent.ndim != 3 or latent.shape[1:] != (1, channels):
        raise ValueError(f"latent {name!r} must be (B, 1, {channels}), got {tuple(latent.shape)}")
    return _precise(latent[:, 0])


def _normalisation(scale: Tensor, shift: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Return the pointmap's scale and shift, checked, as (B, 1) or (B, 3) and (B, 3)."""
    scale = scale[:, None] if scale.ndim == 1 else scale
    if tuple(scale.shape) not in ((batch, 1), (batch, 3)):
        raise ValueError(f"pointmap_scale must be ({batch},), ({batch}, 1) or ({batch}, 3), got {tuple(scale.shape)}")
    if tuple(shift.shape) != (batch, 3):
        raise ValueError(f"pointmap_shift must be ({batch}, 3), got {tuple(shift.shape)}")
    return _precise(scale), _precise(shift)


def _precise(tensor: Tensor) -> Tensor:
    """Widen half precision: a rotation's third digit is lost in it."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
