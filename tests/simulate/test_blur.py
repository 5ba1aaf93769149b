"""Exposures, blurry frames and their masks."""

import numpy as np
import pytest

from eventsam.simulate.blur import (
    BLUR_LEVELS,
    blurred_image,
    blurred_mask,
    exposure_frames,
    exposure_level,
    num_blurred_frames,
)


def test_levels_are_those_of_the_benchmark() -> None:
    assert dict(BLUR_LEVELS) == {"easy": 10, "medium": 20, "hard": 40}


def test_levels_are_names_or_exposure_times() -> None:
    assert num_blurred_frames("hard", 1000) == 40
    assert num_blurred_frames(exposure_level(25), 1000) == 25 and num_blurred_frames("2.5ms", 500) == 5
    for level, words in (("2.5ms", "2.5 frames of 1000 us"), ("0ms", "0 frames"), ("25", "unknown blur level '25'")):
        with pytest.raises(ValueError, match=words):
            num_blurred_frames(level, 1000)


def test_exposure_is_centred_and_bounded() -> None:
    assert exposure_frames(20, 40, 41) == (0, 40)
    assert exposure_frames(30, 10, 80) == (25, 35)
    for frame, num_frames in ((19, 80), (60, 80)):
        with pytest.raises(ValueError, match=f"around frame {frame}"):
            exposure_frames(frame, 40, num_frames)


def test_blurry_frame_is_the_mean() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (12, 4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(blurred_image(image, 2, 8), image[2:8].mean(axis=0), rtol=1e-6)


def test_mask_needs_a_quarter_of_the_exposure_and_is_never_empty() -> None:
    mask = np.zeros((10, 1, 1, 12), np.uint8)
    mask[:, 0, 0, 0] = 1
    mask[:3, 0, 0, 1] = 1
    mask[:2, 0, 0, 2] = 1
    np.testing.assert_array_equal(blurred_mask(mask, 0, 10)[0, 0, :3], [1, 1, 0])
    moving = np.zeros((10, 1, 1, 12), np.uint8)
    moving[np.arange(10), 0, 0, np.arange(10)] = 1
    np.testing.assert_array_equal(blurred_mask(moving, 0, 10)[0, 0], [1] * 10 + [0] * 2)
    assert blurred_mask(moving, 0, 10).dtype == np.uint8
