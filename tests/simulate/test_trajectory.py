"""Camera paths: where the camera stands, which way it looks and that the object stays in view."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.simulate.trajectory import Trajectory, TrajectoryRanges, tangent_bounds

STILL = Trajectory(2.0, 0.0, -90.0, 1.0, 10, 40.0)


def test_camera_on_the_minus_y_side_sees_x_to_the_right_and_z_up() -> None:
    pose = STILL.poses()[0].astype(np.float64)
    # Camera axes: x left, y up, z forward.
    np.testing.assert_allclose(pose[:3, :3], [[-1, 0, 0], [0, 0, 1], [0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(-pose[:3, :3].T @ pose[:3, 3], [0, -2, 0], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(1, 5), st.floats(-80, 80), st.floats(-360, 360), st.floats(-3, 3), st.floats(0, 5), st.floats(10, 100))
def test_poses_are_rotations_at_the_right_distance(
    radius: float, elevation: float, azimuth: float, speed: float, shake: float, period: float
) -> None:
    path = Trajectory(radius, elevation, azimuth, speed, 20, 40.0, shake_deg=shake, shake_period_frames=period)
    poses = path.poses().astype(np.float64)
    rotations = poses[:, :3, :3]
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (20, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(poses[:, :3, 3], axis=1), radius, rtol=1e-5)
    if shake == 0:
        np.testing.assert_allclose(poses[:, :3, 3], np.tile([0, 0, radius], (20, 1)), atol=1e-4)


def test_positive_speed_turns_the_camera_anticlockwise_from_above() -> None:
    centres = [-pose[:3, :3].T @ pose[:3, 3] for pose in STILL.poses()]
    angle = np.rad2deg(np.arctan2([c[1] for c in centres], [c[0] for c in centres]))
    np.testing.assert_allclose(np.diff(angle), 1, atol=1e-3)
    np.testing.assert_array_equal(STILL.times_us(), np.arange(10) * 1000)


def test_drawn_path_fills_the_frame_and_never_leaves_it() -> None:
    vertices = np.random.default_rng(0).uniform(-0.4, 0.4, (300, 3)).astype(np.float32)
    for seed in range(10):
        path = TrajectoryRanges().draw(np.random.default_rng(seed), vertices, 40)
        reach = np.abs(tangent_bounds(vertices, path.poses())).max() / np.tan(np.deg2rad(path.fov_deg) / 2)
        assert 0.85 - 1e-6 <= reach <= 0.97 + 1e-6
        assert path == TrajectoryRanges().draw(np.random.default_rng(seed), vertices, 40)


def test_vertices_behind_the_camera_give_infinite_bounds() -> None:
    assert np.isinf(tangent_bounds(np.array([[0, -3, 0]]), STILL.poses()[:1])).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius": 0.5}, "into the object cube"),
        ({"fov_deg": 180.0}, "fov_deg"),
        ({"elevation_deg": 90.0}, "elevation"),
        ({"num_frames": 0}, "frames"),
    ],
)
def test_impossible_paths_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trajectory(**{**vars(STILL), **change})
