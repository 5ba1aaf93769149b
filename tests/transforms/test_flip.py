"""The flip mirrors images and geometry together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eventsam.transforms import HorizontalFlip


def geometric_sample(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3], pose[:3, 3] = rotation * np.sign(np.linalg.det(rotation)), rng.standard_normal(3)
    pointmap = rng.standard_normal((3, 9, 12)).astype(np.float32)
    pointmap[:, 2, 3:5] = np.nan
    return {
        "rgb": rng.integers(0, 256, (3, 9, 12), dtype=np.uint8),
        "mask": rng.integers(0, 2, (1, 9, 12), dtype=np.uint8),
        "pointmap": pointmap,
        "event_image": rng.standard_normal((5, 9, 12)).astype(np.float32),
        "occupancy": rng.random((6, 6, 6)) < 0.3,
        "pose": pose,
    }


@given(st.integers(0, 10_000))
def test_flipping_twice_gives_every_bit_back(seed: int) -> None:
    sample, rng = geometric_sample(seed), np.random.default_rng(0)
    flip = HorizontalFlip(probability=1.0)
    twice = flip(flip(sample, rng), rng)
    for key, array in sample.items():
        assert twice[key].tobytes() == array.tobytes(), key


@given(st.integers(0, 10_000))
def test_pose_stays_rigid_and_maps_mirrored_points(seed: int) -> None:
    sample = geometric_sample(seed)
    flipped = HorizontalFlip(probability=1.0)(sample, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.det(flipped["pose"][:3, :3]), 1.0, atol=1e-5)
    point = np.append(np.random.default_rng(seed).standard_normal(3), 1.0)
    mirror = np.array([-1, 1, 1, 1])
    np.testing.assert_allclose(flipped["pose"] @ (mirror * point), mirror * (sample["pose"] @ point), atol=1e-5)


def test_each_part_is_mirrored_along_its_axis() -> None:
    sample = geometric_sample(0)
    flipped = HorizontalFlip(probability=1.0)(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(flipped["rgb"][:, :, 0], sample["rgb"][:, :, -1])
    np.testing.assert_array_equal(flipped["occupancy"][0], sample["occupancy"][-1])
    np.testing.assert_array_equal(flipped["pointmap"][0, :, 0], -sample["pointmap"][0, :, -1])
    np.testing.assert_array_equal(flipped["pointmap"][1:, :, 0], sample["pointmap"][1:, :, -1])


def test_probability_decides_how_often() -> None:
    sample, rng = geometric_sample(0), np.random.default_rng(0)
    flips = [not np.array_equal(HorizontalFlip(0.25)(sample, rng)["rgb"], sample["rgb"]) for _ in range(400)]
    assert 70 < sum(flips) < 130
    assert HorizontalFlip(0.0)(sample, rng)["rgb"] is sample["rgb"]
