"""AlignToView: the camera ends at -y, +x on the image's right, and mirroring before or after is the same."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.transforms import AlignToView, HorizontalFlip
from eventsam.transforms.align import yaw_to_view

RNG = np.random.default_rng(0)
angles = st.floats(-math.pi, math.pi)
elevations = st.floats(-1.2, 1.2)


def looking_at_origin(azimuth: float, elevation: float, distance: float = 2.0) -> np.ndarray:
    """Pose of an upright camera (x left, y up, z forward) at a direction from the object, aimed at its centre."""
    direction = np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    forward = -direction
    left = np.array([-forward[1], forward[0], 0.0]) / math.hypot(forward[0], forward[1])
    rotation = np.stack([left, np.cross(forward, left), forward])
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ (distance * direction)
    return pose


def l_shape(resolution: int) -> np.ndarray:
    """A bar along +x with a post at its +x end, and a foot towards +y at its -x end: no symmetry at all."""
    grid = np.zeros((resolution,) * 3, dtype=bool)
    low, high = resolution // 4, 3 * resolution // 4
    mid, width = resolution // 2, resolution // 8
    grid[low:high, mid - width : mid + width, low : low + 2 * width] = True
    grid[high - 2 * width : high, mid - width : mid + width, low:high] = True
    grid[low : low + width, mid:high, low : low + 2 * width] = True
    return grid


def centres(occupancy: np.ndarray) -> np.ndarray:
    return (np.argwhere(occupancy) + 0.5) / len(occupancy) - 0.5


@given(angles, elevations)
def test_camera_ends_at_minus_y(azimuth: float, elevation: float) -> None:
    pose = looking_at_origin(azimuth, elevation)
    aligned = AlignToView(resolution=8)({"pose": pose}, RNG)["pose"]
    camera = -aligned[:3, :3].T @ aligned[:3, 3]
    assert camera[0] == pytest.approx(0.0, abs=1e-5)
    assert camera[1] < 0
    # the camera's own right (-x) is the view frame's +x, for an upright camera
    np.testing.assert_allclose(-aligned[0, :3], [1, 0, 0], atol=1e-5)


@pytest.mark.parametrize("azimuth", [0.0, math.pi / 2, math.pi, -math.pi / 2, 0.7, -2.4])
def test_l_shape_is_turned_with_its_pose(azimuth: float) -> None:
    pose, occupancy = looking_at_origin(azimuth, 0.3), l_shape(32)
    aligned = AlignToView(resolution=32)({"pose": pose, "occupancy": occupancy}, RNG)
    assert aligned["occupancy"].shape == (32, 32, 32) and aligned["occupancy"].dtype == bool
    before = centres(occupancy) @ pose[:3, :3].T + pose[:3, 3]
    after = centres(aligned["occupancy"]) @ aligned["pose"][:3, :3].T + aligned["pose"][:3, 3]
    # the camera sees the same solid: every filled cell has one within a cell's diagonal in the other
    distances = np.linalg.norm(before[:, None] - after[None], axis=-1)
    assert max(distances.min(axis=0).max(), distances.min(axis=1).max()) < math.sqrt(3) / 32
    assert 0.85 < len(after) / len(before) < 1.15


def test_what_the_camera_sees_on_its_right_is_at_plus_x() -> None:
    # seen from +y, looking along -y, the +x end with the post is on the image's left
    aligned = AlignToView(resolution=16)({"pose": looking_at_origin(math.pi / 2, 0.2), "occupancy": l_shape(16)}, RNG)
    post = aligned["occupancy"][:, :, 10]
    assert post[:8].any() and not post[8:].any()
    np.testing.assert_array_equal(aligned["occupancy"], l_shape(16)[::-1, ::-1])


@settings(deadline=None, max_examples=30)
@given(angles, elevations)
def test_flip_and_alignment_commute(azimuth: float, elevation: float) -> None:
    sample = {"pose": looking_at_origin(azimuth, elevation), "occupancy": l_shape(24)}
    flip, align = HorizontalFlip(1.0), AlignToView(resolution=24)
    flip_first, align_first = align(flip(sample, RNG), RNG), flip(align(sample, RNG), RNG)
    np.testing.assert_allclose(flip_first["pose"], align_first["pose"], atol=1e-5)
    different = np.count_nonzero(flip_first["occupancy"] != align_first["occupancy"])
    # only cells whose centre falls on a border between two may round differently
    assert different <= 0.02 * np.count_nonzero(sample["occupancy"])


@pytest.mark.parametrize("heading", [0.0, 0.4, -2.0])
def test_camera_straight_above_takes_the_image_right_as_x(heading: float) -> None:
    right = np.array([math.cos(heading), math.sin(heading), 0.0])
    forward = np.array([0.0, 0.0, -1.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([-right, np.cross(forward, -right), forward])
    pose[:3, 3] = [0, 0, 2]
    assert yaw_to_view(pose) == pytest.approx(-heading)


def test_occupancy_without_pose_is_refused() -> None:
    with pytest.raises(KeyError, match="AlignToView needs key 'pose'"):
        AlignToView(resolution=8)({"occupancy": l_shape(8)}, RNG)
