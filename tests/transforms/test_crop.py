"""Crops: the square around the object, and random parts that keep it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsam.transforms import ObjectCrop, RandomCrop
from eventsam.transforms.crop import window_sums

RNG = np.random.default_rng(0)


def sample_with_box(top: int, left: int, height: int, width: int, size: tuple[int, int] = (40, 60)) -> dict:
    mask = np.zeros((1, *size), dtype=np.uint8)
    mask[:, top : top + height, left : left + width] = 1
    columns = np.broadcast_to(np.arange(size[1]), size)
    rows = np.broadcast_to(np.arange(size[0])[:, None], size)
    return {
        "sample_index": np.array(12, dtype=np.int64),
        "rgb": np.stack([rows, columns, rows * 0 + 9]).astype(np.uint8),
        "mask": mask,
        "pointmap": np.stack([columns, rows, rows]).astype(np.float32),
        "event_image": np.full((3, *size), 7, dtype=np.uint8),
    }


@pytest.mark.parametrize(("height", "width", "side"), [(10, 20, 24), (1, 1, 2), (15, 15, 18), (21, 8, 25)])
def test_square_is_centred_and_scaled(height: int, width: int, side: int) -> None:
    cropped = ObjectCrop(scale=1.2)(sample_with_box(8, 20, height, width), RNG)
    assert all(cropped[key].shape[-2:] == (side, side) for key in ("rgb", "mask", "pointmap", "event_image"))
    rows, columns = np.nonzero(cropped["mask"][0])
    assert len(rows) == height * width
    assert abs((rows[0] + rows[-1] + 1) - side) <= 1
    assert abs((columns.min() + columns.max() + 1) - side) <= 1


def test_images_are_cut_at_the_same_place() -> None:
    cropped = ObjectCrop()(sample_with_box(10, 20, 10, 10), RNG)
    np.testing.assert_array_equal(cropped["rgb"][1], cropped["pointmap"][0])
    np.testing.assert_array_equal(cropped["rgb"][0], cropped["pointmap"][1])


def test_outside_of_the_image_is_padded() -> None:
    cropped = ObjectCrop(scale=2.0, event_background=255)(sample_with_box(0, 0, 10, 10), RNG)
    assert cropped["rgb"].shape == (3, 20, 20)
    assert not cropped["rgb"][:, :5].any() and not cropped["mask"][:, :, :5].any()
    assert np.isnan(cropped["pointmap"][:, :5]).all() and np.isfinite(cropped["pointmap"][:, 5:, 5:]).all()
    assert (cropped["event_image"][:, :5] == 255).all() and (cropped["event_image"][:, 5:, 5:] == 7).all()


def test_empty_mask_is_named() -> None:
    with pytest.raises(ValueError, match="sample_index 12: mask is empty"):
        ObjectCrop()(sample_with_box(0, 0, 0, 0), RNG)
    with pytest.raises(ValueError, match="sample_index 12: mask is empty"):
        RandomCrop(size=10)(sample_with_box(0, 0, 0, 0), RNG)


def test_missing_mask_is_named() -> None:
    with pytest.raises(KeyError, match="ObjectCrop needs key 'mask_blurry'"):
        ObjectCrop(key="mask_blurry")(sample_with_box(0, 0, 4, 4), RNG)


def test_images_of_two_sizes_are_refused() -> None:
    sample = sample_with_box(0, 0, 4, 4) | {"event_image": np.zeros((3, 20, 30), dtype=np.uint8)}
    for transform in (ObjectCrop(), RandomCrop(size=10)):
        with pytest.raises(ValueError, match=r"rgb 40 x 60.*event_image 20 x 30"):
            transform(sample, RNG)


@given(st.integers(0, 30), st.integers(0, 50), st.integers(1, 10), st.integers(1, 10), st.integers(0, 99))
def test_random_crop_keeps_the_share_and_the_size(top: int, left: int, height: int, width: int, seed: int) -> None:
    sample = sample_with_box(top, left, height, width)
    cropped = RandomCrop(size=20, min_mask_share=0.4)(sample, np.random.default_rng(seed))
    assert cropped["rgb"].shape == (3, 40, 60)
    # rescaled by exactly two, so every kept pixel shows four times
    assert 10 * np.count_nonzero(cropped["mask"]) >= 4 * 4 * height * width


def test_random_crop_moves_and_can_be_switched_off() -> None:
    sample = sample_with_box(15, 25, 6, 6)
    places = {RandomCrop(size=20)(sample, np.random.default_rng(seed))["rgb"].tobytes() for seed in range(20)}
    assert len(places) > 10
    assert RandomCrop(size=20, probability=0.0)(sample, RNG)["rgb"] is sample["rgb"]


def test_random_crop_that_cannot_keep_enough_returns_the_whole_image() -> None:
    sample = sample_with_box(0, 0, 40, 60)
    assert RandomCrop(size=10, min_mask_share=0.5)(sample, RNG)["rgb"] is sample["rgb"]


def test_random_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="40 x 60 is smaller than the crop of 41"):
        RandomCrop(size=41)(sample_with_box(0, 0, 4, 4), RNG)


def test_window_sums_match_direct_counting() -> None:
    filled = np.random.default_rng(1).random((9, 11)) < 0.5
    expected = np.lib.stride_tricks.sliding_window_view(filled, (4, 3)).sum(axis=(2, 3))
    np.testing.assert_array_equal(window_sums(filled, 4, 3), expected)
