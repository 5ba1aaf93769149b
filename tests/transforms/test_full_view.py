"""The full view beside the crop: padded around its centre, resized, and left alone by what follows."""

import numpy as np
import pytest

from eventsam.sample import KEYS, check_sample, view_key
from eventsam.transforms import FullView, ObjectCrop, Resize, Transform
from eventsam.transforms.resize import resize_colour
from eventsam.transforms.transform import made_by

RNG = np.random.default_rng(0)


def sample(height: int = 20, width: int = 30) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    mask = np.zeros((1, height, width), np.uint8)
    mask[:, 5:9, 10:20] = 1
    return {
        "rgb": rng.integers(1, 256, (3, height, width), dtype=np.uint8),
        "event_image": rng.standard_normal((5, height, width)).astype(np.float32),
        "mask": mask,
        "pointmap": rng.standard_normal((3, height, width)).astype(np.float32),
    }


def test_images_are_padded_to_a_square_around_their_centre() -> None:
    given = sample()
    view = FullView(30, 30, ("rgb", "event_image", "mask", "pointmap"), event_background=7.0)(given, RNG)
    check_sample(view, "viewed")
    for key, blank in (("rgb", 0), ("event_image", 7), ("mask", 0), ("pointmap", np.nan)):
        full = view[f"{key}_full"]
        np.testing.assert_array_equal(full[:, 5:25], given[key])
        np.testing.assert_array_equal(full[:, :5], np.full_like(full[:, :5], blank))
        np.testing.assert_array_equal(full[:, 25:], np.full_like(full[:, 25:], blank))
        assert view[key] is given[key]


def test_colours_are_averaged_and_marks_are_not() -> None:
    given = sample(32, 32)
    view = FullView(16, 16, ("rgb", "event_image", "mask"))(given, RNG)
    np.testing.assert_array_equal(view["rgb_full"], resize_colour(given["rgb"], 16, 16))
    assert np.isin(view["event_image_full"], given["event_image"]).all()
    assert set(np.unique(view["mask_full"])) == {0, 1}


def test_later_transforms_leave_the_full_view_alone() -> None:
    full, later = FullView(16, 16), (ObjectCrop(), Resize(8, 8))
    viewed = full(sample(), RNG)
    kept = viewed["rgb_full"].copy()
    transformed = viewed
    for transform in later:
        transformed = transform(transformed, RNG)
    np.testing.assert_array_equal(transformed["rgb_full"], kept)
    assert transformed["rgb"].shape == (3, 8, 8)


def test_what_is_made_is_told_and_known() -> None:
    transforms: tuple[Transform, ...] = (FullView(16, 16), ObjectCrop())
    assert made_by(transforms) == {"rgb_full": "rgb", "event_image_full": "event_image"}
    assert "mask_full" not in FullView(16, 16)(sample(), RNG)
    assert {view_key(key, "full") for key in ("rgb_blurry", "pointmap", "mask_blurry")} <= set(KEYS)
    assert "occupancy_full" not in KEYS


def test_refusals() -> None:
    with pytest.raises(ValueError, match="key is 'occupancy', allowed: rgb"):
        FullView(16, 16, ("occupancy",))
    with pytest.raises(ValueError, match="0 x 3"):
        FullView(0, 3)
    with pytest.raises(ValueError, match="unknown view 'ful'; did you mean 'full'"):
        view_key("rgb", "ful")
