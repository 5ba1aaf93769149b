"""Transforms of pixel values: resize, blur, wavelet split, masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.transforms import GaussianBlur, MaskJitter, MotionBlur, RandomMaskSource, Resize, WaveletSplit
from eventsam.transforms.blur import line_kernel, odd_between
from eventsam.transforms.resize import resize_colour, resize_nearest
from eventsam.transforms.wavelet import low_frequencies

RNG = np.random.default_rng(0)


def checkerboard(height: int, width: int) -> np.ndarray:
    board = ((np.arange(height)[:, None] + np.arange(width)) % 2 * 255).astype(np.uint8)
    return np.repeat(board[None], 3, axis=0)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 64), (64, 16)])
def test_shrinking_does_not_alias(height: int, width: int) -> None:
    small = resize_colour(checkerboard(32, 32), height, width)
    assert small.shape == (3, height, width)
    assert abs(small.astype(int) - 127).max() <= 1


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    row = np.arange(9, dtype=np.float32).reshape(1, 1, 9)
    np.testing.assert_array_equal(resize_nearest(row, 1, 3)[0, 0], [1, 4, 7])
    np.testing.assert_array_equal(resize_nearest(row, 1, 18)[0, 0], np.repeat(np.arange(9), 2))


def test_resize_mixes_no_values_where_that_has_no_meaning() -> None:
    sample = {
        "mask": RNG.integers(0, 2, (1, 31, 44), dtype=np.uint8),
        "pointmap": np.where(RNG.random((3, 31, 44)) < 0.5, np.nan, 5.0).astype(np.float32),
        "event_image": RNG.choice(np.array([0, 90, 255], dtype=np.uint8), (3, 31, 44)),
    }
    resized = Resize(64, 20)(sample, RNG)
    for key, array in sample.items():
        assert resized[key].shape == (len(array), 64, 20)
        assert set(np.unique(resized[key])) <= set(np.unique(array)) or key == "pointmap"
    assert set(np.unique(resized["pointmap"][~np.isnan(resized["pointmap"])])) == {5.0}


def test_odd_kernels_cover_the_range_evenly() -> None:
    sides = [odd_between(5, 15, place) for place in np.linspace(0, 1, 600, endpoint=False)]
    values, counts = np.unique(sides, return_counts=True)
    assert values.tolist() == [5, 7, 9, 11, 13, 15]
    assert counts.tolist() == [100] * 6


@pytest.mark.parametrize("blur", [GaussianBlur, MotionBlur])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_blur_changes_one_key_and_keeps_brightness(blur, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (3, 50, 40), dtype=np.uint8)
    sample = {"rgb": image, "rgb_blurry": image}
    blurred = blur(probability=1.0)(sample, np.random.default_rng(seed))
    assert blurred["rgb"] is image
    assert blurred["rgb_blurry"].std() < 0.6 * image.std()
    assert abs(blurred["rgb_blurry"].mean() - image.mean()) < 6
    assert blur(probability=1.0, key="rgb")(sample, np.random.default_rng(seed))["rgb_blurry"] is image


def test_motion_kernel_is_a_centred_line() -> None:
    for side in (5, 9, 15):
        for angle in np.linspace(0, np.pi, 7):
            kernel = line_kernel(side, angle)
            assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
            np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-6)
    level = line_kernel(7, 0.0)
    assert level[3].sum() == pytest.approx(1.0, abs=1e-6)
    assert (level[3] > 0.05).all()


@pytest.mark.parametrize("background", [0, 128, 255])
def test_event_image_of_high_frequencies_never_wraps(background: int) -> None:
    image = np.full((3, 40, 40), background, dtype=np.uint8)
    image[0, 10:14, 10:14] = 255
    image[1, 20:24, 20:24] = 0
    split = WaveletSplit(max_levels=3, event_background=background)
    for seed in range(8):
        levels = int(np.random.default_rng(seed).integers(0, 4))
        high = split({"event_image": image}, np.random.default_rng(seed))["event_image"]
        exact = image.astype(np.float32)
        if levels:
            exact += background - low_frequencies(image, levels)
        assert abs(high - np.clip(exact, 0, 255)).max() <= 0.5
        assert (high[2] == background).all()


def test_low_and_high_frequencies_add_up() -> None:
    voxels = RNG.standard_normal((5, 30, 30)).astype(np.float32)
    rgb = RNG.integers(0, 256, (3, 30, 30), dtype=np.uint8)
    generator_seed = next(seed for seed in range(50) if np.random.default_rng(seed).integers(0, 4) == 3)
    sample = {"event_image": voxels, "rgb_blurry": rgb, "rgb": rgb}
    split = WaveletSplit()(sample, np.random.default_rng(generator_seed))
    np.testing.assert_allclose(split["event_image"] + low_frequencies(voxels, 3), voxels, atol=1e-5)
    assert split["rgb_blurry"].std() < 0.3 * rgb.std()
    assert split["rgb"] is rgb


def test_smoothing_is_the_binomial_kernel_with_holes() -> None:
    spike = np.zeros((1, 15, 15), dtype=np.float32)
    spike[0, 7, 7] = 16
    once = low_frequencies(spike, 1)[0]
    np.testing.assert_allclose(once[6:9, 6:9], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    second = np.convolve([1, 2, 1], [1, 0, 2, 0, 1]) / 16
    np.testing.assert_allclose(low_frequencies(spike, 2)[0, 4:11, 4:11], 16 * np.outer(second, second), atol=1e-6)


@given(st.integers(0, 500), st.integers(1, 6))
def test_jitter_never_empties_a_mask(seed: int, max_pixels: int) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.random((1, 20, 20)) < 0.02).astype(np.uint8)
    mask[0, 4, 4] = 1
    jittered = MaskJitter(max_pixels, probability=1.0)({"mask": mask}, rng)["mask"]
    assert jittered.any()
    assert np.isin(jittered, (0, 1)).all()
    assert (jittered >= mask).all() or (jittered <= mask).all()


def test_jitter_grows_and_shrinks_by_the_drawn_pixels() -> None:
    mask = np.zeros((1, 40, 40), dtype=np.uint8)
    mask[0, 10:30, 10:30] = 1
    widths = {
        int(MaskJitter(2, 1.0)({"mask": mask}, np.random.default_rng(seed))["mask"][0, 20].sum()) for seed in range(40)
    }
    assert widths == {16, 18, 22, 24}


def test_mask_source() -> None:
    mask, blurry = np.ones((1, 4, 4), dtype=np.uint8), np.zeros((1, 4, 4), dtype=np.uint8)
    blurry[0, 1] = 1
    swapped = RandomMaskSource(1.0)({"mask": mask, "mask_blurry": blurry}, RNG)
    np.testing.assert_array_equal(swapped["mask"], blurry)
    kept = RandomMaskSource(1.0)({"mask": mask, "mask_blurry": blurry * 0}, RNG)
    np.testing.assert_array_equal(kept["mask"], mask)
    with pytest.raises(KeyError, match="RandomMaskSource needs key 'mask_blurry'"):
        RandomMaskSource(1.0)({"mask": mask}, RNG)
