"""Pose latents there and back, on row vectors, against scipy; and what no pose can be made of."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from eventsam.models.sam3d.latents import ROTATION, SCALE, TRANSLATION, TRANSLATION_SCALE
from eventsam.models.sam3d.pose import (
    ROTATION_MEAN,
    ROTATION_STD,
    UNDEFINED_CONVENTIONS,
    Pose,
    decode_pose,
    encode_pose,
    pose_from_matrix,
)
from eventsam.models.sam3d.rotation import from_rot6d, matrix_to_quaternion


def random_latents(seed: int, batch: int = 4, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    sizes = {"shape": (64, 8), ROTATION: (1, 6), TRANSLATION: (1, 3), SCALE: (1, 3), TRANSLATION_SCALE: (1, 1)}
    return {name: torch.randn(batch, *size, generator=draw, dtype=dtype) for name, size in sizes.items()}


def normalisation(seed: int, batch: int = 4) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed + 1)
    scale = torch.rand(batch, 1, generator=draw, dtype=torch.float64) + 0.2
    return scale, torch.randn(batch, 3, generator=draw, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(
    quaternion=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    translation=st.lists(st.floats(-10, 10), min_size=3, max_size=3),
    scale=st.floats(0.01, 20),
    pointmap_scale=st.floats(0.05, 10),
    shift=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_a_pose_survives_its_latents(quaternion, translation, scale, pointmap_scale, shift) -> None:
    rotation = torch.from_numpy(Rotation.from_quat(quaternion, scalar_first=True).as_matrix())[None]
    place = torch.tensor([translation], dtype=torch.float64)
    pose = Pose(rotation, matrix_to_quaternion(rotation), place, torch.full((1, 3), scale, dtype=torch.float64))
    c, s = torch.tensor([[pointmap_scale]], dtype=torch.float64), torch.tensor([shift], dtype=torch.float64)
    back = decode_pose(encode_pose(pose, c, s), c, s)
    for name in ("rotation", "translation", "scale"):
        torch.testing.assert_close(getattr(back, name), getattr(pose, name), rtol=1e-9, atol=1e-9)
    # A half turn has two quaternions with w = 0.
    torch.testing.assert_close((back.quaternion * pose.quaternion).sum().abs(), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("seed", range(5))
def test_latents_of_one_scale_survive_their_pose(seed: int) -> None:
    latents, (c, s) = random_latents(seed), normalisation(seed)
    latents[SCALE] = latents[SCALE][..., :1].expand(-1, -1, 3)
    # Any six numbers that span the rotation's columns name the same rotation: start from its own.
    latents |= {ROTATION: encode_pose(decode_pose(latents, c, s), c, s)[ROTATION]}
    back = encode_pose(decode_pose(latents, c, s), c, s)
    for name in (ROTATION, TRANSLATION, SCALE):
        torch.testing.assert_close(back[name], latents[name], rtol=1e-9, atol=1e-9)
    assert back[TRANSLATION_SCALE].shape == (4, 1, 1) and not back[TRANSLATION_SCALE].any()


def test_the_released_convention_by_hand() -> None:
    """One sample, each step written out from the definition."""
    latents, (c, s) = random_latents(3, batch=1), normalisation(3, batch=1)
    numbers = [float(x) * d + m for x, d, m in zip(latents[ROTATION][0, 0], ROTATION_STD, ROTATION_MEAN, strict=True)]
    a1, a2 = np.array(numbers[:3]), np.array(numbers[3:])
    b1 = a1 / np.linalg.norm(a1)
    b2 = a2 - (b1 @ a2) * b1
    b2 /= np.linalg.norm(b2)
    columns = np.stack([b1, b2, np.cross(b1, b2)], axis=1)
    size = np.mean([math.exp(float(x)) for x in latents[SCALE][0, 0]]) * float(c)
    place = latents[TRANSLATION][0, 0].numpy() * float(c) + s[0].numpy()

    pose = decode_pose(latents, c, s)
    np.testing.assert_allclose(pose.rotation[0], columns, atol=1e-12)
    np.testing.assert_allclose(pose.scale[0], [size] * 3, atol=1e-12)
    np.testing.assert_allclose(pose.translation[0], place, atol=1e-12)
    point = np.array([0.3, -0.2, 0.5])
    row_vector = (size * point) @ columns + place
    np.testing.assert_allclose(pose.to_camera(torch.from_numpy(point)[None, None])[0, 0], row_vector, atol=1e-12)
    # On column vectors the same map has the transposed matrix.
    column_vector = pose.matrix()[0].numpy() @ np.append(point, 1.0)
    np.testing.assert_allclose(column_vector[:3], row_vector, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_transforms_invert_each_other(seed: int) -> None:
    pose = decode_pose(random_latents(seed), *normalisation(seed))
    points = torch.rand(4, 50, 3, dtype=torch.float64) - 0.5
    torch.testing.assert_close(pose.to_object(pose.to_camera(points)), points, rtol=0, atol=1e-12)
    again = pose_from_matrix(pose.matrix())
    for left, right in zip(again, pose, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    axis=st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda a: np.linalg.norm(a) > 0.1),
    angle=st.one_of(st.floats(-math.pi, math.pi), st.sampled_from([0.0, math.pi, -math.pi, math.pi - 1e-9])),
)
def test_quaternions_are_scipys(axis, angle) -> None:
    rotation = Rotation.from_rotvec(angle * np.array(axis) / np.linalg.norm(axis))
    quaternion = matrix_to_quaternion(torch.from_numpy(rotation.as_matrix())).numpy()
    assert quaternion[0] >= 0
    expected = rotation.as_quat(scalar_first=True)
    assert min(np.abs(quaternion - expected).max(), np.abs(quaternion + expected).max()) < 1e-7
    back = Rotation.from_quat(quaternion, scalar_first=True).as_matrix()
    np.testing.assert_allclose(back, rotation.as_matrix(), atol=1e-12)


def test_decoding_leaves_the_latents_as_they_are() -> None:
    latents, (c, s) = random_latents(0), normalisation(0)
    before = {name: tensor.clone() for name, tensor in latents.items()}
    pose = decode_pose(latents, c, s)
    assert latents.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(latents[name], tensor)
    assert pose.translation.shape == (4, 3) and latents[TRANSLATION].shape == (4, 1, 3)
    assert not torch.allclose(pose.translation, latents[TRANSLATION][:, 0])


def test_the_pointmaps_scale_may_come_in_each_of_its_shapes() -> None:
    latents, (c, s) = random_latents(0), normalisation(0)
    expected = decode_pose(latents, c, s)
    for shape in (c[:, 0], c.expand(-1, 3)):
        for left, right in zip(decode_pose(latents, shape, s), expected, strict=True):
            assert torch.equal(left, right)
    with pytest.raises(ValueError, match=r"pointmap_scale must be \(4,\), \(4, 1\) or \(4, 3\), got \(4, 2\)"):
        decode_pose(latents, c.expand(-1, 2), s)
    with pytest.raises(ValueError, match=r"pointmap_shift must be \(4, 3\)"):
        decode_pose(latents, c, s[:, :2])


def test_half_precision_is_widened_and_gradients_are_finite() -> None:
    latents = {name: t.to(torch.bfloat16).requires_grad_() for name, t in random_latents(0).items()}
    pose = decode_pose(latents, *(t.float() for t in normalisation(0)))
    assert pose.rotation.dtype == torch.float32
    torch.testing.assert_close(pose.rotation @ pose.rotation.mT, torch.eye(3).expand(4, 3, 3), rtol=0, atol=1e-5)
    sum(part.sum() for part in pose).backward()
    assert all(latents[name].grad.isfinite().all() for name in (ROTATION, TRANSLATION, SCALE))


def test_parallel_vectors_are_no_rotation() -> None:
    assert from_rot6d(torch.tensor([1.0, 0, 0, 2, 0, 0])).isnan().any()
    assert from_rot6d(torch.zeros(6)).isnan().all()


@pytest.mark.parametrize("name", UNDEFINED_CONVENTIONS)
def test_conventions_that_are_only_named_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{name}' cannot be decoded.*not published"):
        decode_pose(random_latents(0), *normalisation(0), convention=name)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'ScaleShiftInvariant'"):
        decode_pose(random_latents(0), *normalisation(0), convention="ScaleShiftInvariate")
    latents = random_latents(0)
    latents["translatoin"] = latents.pop(TRANSLATION)
    with pytest.raises(KeyError, match="did you mean 'translatoin'"):
        decode_pose(latents, *normalisation(0))
    with pytest.raises(ValueError, match=r"'scale' must be \(B, 1, 3\), got \(4, 3\)"):
        decode_pose({**random_latents(0), SCALE: torch.zeros(4, 3)}, *normalisation(0))


def test_poses_that_the_convention_cannot_say_are_refused() -> None:
    c, s = normalisation(0)
    pose = decode_pose(random_latents(0), c, s)
    mirrored = pose._replace(rotation=-pose.rotation)
    with pytest.raises(ValueError, match=r"poses \[0, 1, 2, 3\] hold no rotation: determinants \[-1"):
        encode_pose(mirrored, c, s)
    with pytest.raises(ValueError, match="hold no rotation"):
        encode_pose(pose._replace(rotation=pose.rotation * torch.nan), c, s)
    with pytest.raises(ValueError, match="one scale for all axes"):
        encode_pose(pose._replace(scale=pose.scale * torch.tensor([1.0, 1.1, 1.0])), c, s)
    with pytest.raises(ValueError, match="must be positive"):
        encode_pose(pose._replace(scale=-pose.scale), c, s)
    with pytest.raises(ValueError, match="column of length 0"):
        pose_from_matrix(torch.zeros(2, 4, 4))
