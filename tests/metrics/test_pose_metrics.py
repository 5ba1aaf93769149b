"""Errors of poses on row vectors."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from eventsam.metrics.pose import ObjectPose, pose_from_matrix, pose_metrics, rotation_angle_deg


def pose(angle: float = 0.0, move: tuple[float, ...] = (0.0, 0.0, 2.0), scale: float = 1.0) -> ObjectPose:
    column = torch.from_numpy(Rotation.from_euler("z", angle, degrees=True).as_matrix())
    return ObjectPose(column.T[None], torch.tensor([move], dtype=torch.float64), torch.full((1, 3), scale).double())


def cloud() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (2000, 3)) * [1.0, 0.6, 0.3]


def errors(prediction: ObjectPose, truth: ObjectPose, points: np.ndarray | None = None) -> dict[str, float]:
    states = pose_metrics(prediction, truth, [cloud() if points is None else points], torch.tensor([7]))
    assert all(state.to_array()[:, 0].tolist() == [7] for state in states.values())
    return {name: state.mean() for name, state in states.items()}


def test_the_right_pose_has_no_error() -> None:
    assert set(errors(pose(30), pose(30)).values()) == {0.0}


@pytest.mark.parametrize("angle", [1e-6, 0.5, 45.0, 90.0, 179.9, 180.0])
def test_rotation_error_is_the_angle(angle: float) -> None:
    assert errors(pose(20 + angle), pose(20))["error_rotation_deg"] == pytest.approx(angle, rel=1e-6)


def test_rotations_agree_with_scipy() -> None:
    first, second = Rotation.random(50, rng=1), Rotation.random(50, rng=2)
    expected = np.rad2deg((first.inv() * second).magnitude())
    tensors = (torch.from_numpy(r.as_matrix()) for r in (first, second))
    np.testing.assert_allclose(rotation_angle_deg(*tensors).numpy(), expected, rtol=1e-9)


def test_translation_scale_and_add() -> None:
    found = errors(pose(move=(0.3, 0.4, 2.0)), pose())
    diameter = np.linalg.norm(np.ptp(cloud(), axis=0))
    assert found["error_translation"] == pytest.approx(0.5)
    assert found["error_add"] == pytest.approx(0.5 / diameter)
    assert 0 < found["error_add_s"] < found["error_add"]
    assert errors(pose(scale=2.0), pose())["error_scale"] == pytest.approx(np.log(2))
    assert errors(pose(scale=0.5), pose())["error_scale"] == pytest.approx(np.log(2))


def test_symmetry_is_forgiven_by_add_s_alone() -> None:
    angles = np.arange(360) * np.pi / 180
    ring = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    found = errors(pose(10), pose(0), ring)
    assert found["error_add"] > 0.05 and found["error_add_s"] < 1e-12


def test_matrices_on_column_vectors_become_row_vector_poses() -> None:
    column = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    matrix = torch.eye(4, dtype=torch.float64)[None].clone()
    matrix[0, :3, :3], matrix[0, :3, 3] = torch.from_numpy(column) * 1.5, torch.tensor([1.0, 2.0, 3.0])
    found, points = pose_from_matrix(matrix), torch.from_numpy(cloud())[None]
    expected = points @ matrix[0, :3, :3].T + matrix[0, :3, 3]
    torch.testing.assert_close(found.apply(points), expected)
    torch.testing.assert_close(found.scale, torch.full((1, 3), 1.5, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"expected poses \(B, 4, 4\)"):
        pose_from_matrix(torch.eye(4))


def test_unequal_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="1 predicted poses, 1 true ones, 0 objects, 1 sample indices"):
        pose_metrics(pose(), pose(), [], torch.tensor([0]))
