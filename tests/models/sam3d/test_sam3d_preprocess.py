"""Preparation of frames: boxes by integers, pixels against a float64 oracle, and what happens to bad samples."""

import math

import numpy as np
import pytest
import torch
from sam3d_small import made_frames
from torch.nn import functional

from eventsam.models.sam3d.boxes import crop_boxes
from eventsam.models.sam3d.preprocess import Frames, Preprocess, stack_frames


def mask_of(height: int, width: int, *boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """Masks with the pixels top..bottom, left..right filled, ends included."""
    masks = torch.zeros(len(boxes), 1, height, width, dtype=torch.uint8)
    for i, (top, left, bottom, right) in enumerate(boxes):
        masks[i, :, top : bottom + 1, left : right + 1] = 1
    return masks


def box_oracle(top: int, left: int, bottom: int, right: int) -> list[int]:
    side = int(max(right - left, bottom - top, 2) * 1.2)
    y, x = (top + bottom) / 2, (left + right) / 2
    return [int(y - side // 2), int(x - side // 2), int(y + side // 2), int(x + side // 2)]


def cut_oracle(image: np.ndarray, box: list[int], outside: float, padding: float) -> np.ndarray:
    """Cut a box out of (H, W), fill what is outside, pad to a square."""
    top, left, bottom, right = box
    cut = np.full((bottom - top, right - left), outside, np.float64)
    for y in range(top, bottom):
        for x in range(left, right):
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                cut[y - top, x - left] = image[y, x]
    side = max(cut.shape)
    square = np.full((side, side), padding, np.float64)
    y, x = (side - cut.shape[0]) // 2, (side - cut.shape[1]) // 2
    square[y : y + cut.shape[0], x : x + cut.shape[1]] = cut
    return square


def smooth_oracle(square: np.ndarray, size: int) -> np.ndarray:
    return functional.interpolate(
        torch.from_numpy(square)[None, None], size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )[0, 0].numpy()


def nearest_oracle(square: np.ndarray, size: int) -> np.ndarray:
    index = [math.floor(i * len(square) / size + 1e-9) for i in range(size)]
    return square[np.ix_(index, index)]


@pytest.mark.parametrize("seed", range(20))
def test_boxes_follow_the_integer_rules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = []
    while len(boxes) < 6:
        (top, bottom), (left, right) = sorted(rng.integers(0, 33, 2)), sorted(rng.integers(0, 57, 2))
        corners = box_oracle(top, left, bottom, right)
        if min(corners[2] - corners[0], corners[3] - corners[1]) >= 2:
            boxes.append((top, left, bottom, right))
    found = crop_boxes(mask_of(33, 57, *boxes), range(6))
    assert found.tolist() == [box_oracle(*box) for box in boxes]


@pytest.mark.parametrize("size", [16, 32, 57])
@pytest.mark.parametrize("box", [(5, 8, 20, 14), (0, 0, 12, 30), (22, 40, 32, 56), (0, 0, 32, 56), (16, 20, 17, 22)])
def test_crop_and_frame_match_the_oracle(box: tuple[int, int, int, int], size: int) -> None:
    frames = made_frames(1, 33, 57, mask=mask_of(33, 57, box))
    prepared = Preprocess(size)(frames)
    for name, given, corners in (
        ("image", frames.image, box_oracle(*box)),
        ("rgb_image", frames.image, [0, 0, 33, 57]),
        ("event_image", frames.event_image, box_oracle(*box)),
        ("rgb_event_image", frames.event_image, [0, 0, 33, 57]),
    ):
        expected = smooth_oracle(cut_oracle(given[0, 1].numpy(), corners, 0, 0), size) / 255
        np.testing.assert_allclose(getattr(prepared, name)[0, 1].numpy(), expected, atol=2e-6)
    for name, corners in (("mask", box_oracle(*box)), ("rgb_image_mask", [0, 0, 33, 57])):
        expected = nearest_oracle(cut_oracle(frames.mask[0, 0].numpy(), corners, 0, 0), size)
        np.testing.assert_array_equal(getattr(prepared, name)[0, 0].numpy(), expected)


def lower_median(values: np.ndarray) -> float:
    valid = np.sort(values[~np.isnan(values)])
    return float(valid[(len(valid) - 1) // 2])


@pytest.mark.parametrize("outside", ["zero", "invalid"])
def test_pointmaps_are_normalised_on_the_frame_and_then_cut(outside: str) -> None:
    mask = mask_of(33, 57, (0, 0, 12, 30))
    frames = made_frames(1, 33, 57, mask=mask)
    frames.pointmap[0, 1, 20, 20] = torch.inf
    prepared = Preprocess(24, pointmap_outside=outside)(frames)
    points = frames.pointmap[0].double().numpy()
    points[:, ~np.isfinite(points).all(axis=0)] = np.nan
    shift = np.array([lower_median(axis[mask[0, 0] > 0]) for axis in points])
    centred = points - shift[:, None, None]
    scale = lower_median(np.abs(centred).max(axis=0))
    np.testing.assert_allclose(prepared.pointmap_shift[0], shift, rtol=1e-6)
    np.testing.assert_allclose(prepared.pointmap_scale[0], [scale], rtol=1e-6)
    fill = 0.0 if outside == "zero" else np.nan
    for name, corners in (("pointmap", box_oracle(0, 0, 12, 30)), ("rgb_pointmap", [0, 0, 33, 57])):
        for axis in range(3):
            expected = nearest_oracle(cut_oracle(centred[axis] / scale, corners, fill, np.nan), 24)
            np.testing.assert_allclose(getattr(prepared, name)[0, axis], expected, rtol=1e-5, atol=1e-6)


def test_no_sample_depends_on_its_batch() -> None:
    frames = made_frames(3, mask=mask_of(40, 48, (1, 2, 30, 9), (20, 20, 39, 47), (5, 5, 8, 8)))
    together = Preprocess(24)(frames)
    for i in range(3):
        one = Frames(*(getattr(frames, name)[i : i + 1] for name in ("image", "mask", "pointmap", "event_image")))
        alone = Preprocess(24)(one)
        for name in ("image", "mask", "pointmap", "rgb_image", "rgb_pointmap", "event_image", "rgb_event_image"):
            torch.testing.assert_close(getattr(together, name)[i], getattr(alone, name)[0], equal_nan=True)


def test_autocast_does_not_blur_pixels() -> None:
    frames = made_frames()
    plain = Preprocess(24)(frames)
    with torch.autocast("cpu", torch.bfloat16):
        cast = Preprocess(24)(frames)
    assert torch.equal(cast.image, plain.image) and torch.equal(cast.rgb_event_image, plain.rgb_event_image)
    torch.testing.assert_close(cast.pointmap, plain.pointmap, atol=0, rtol=0, equal_nan=True)


def test_bad_masks_are_named() -> None:
    frames = made_frames(3, ids=["a", "b", "c"])
    frames.mask[1] = 0
    with pytest.raises(ValueError, match="sample b: the mask is empty"):
        Preprocess(24)(frames)
    frames = made_frames(2, mask=mask_of(40, 48, (5, 5, 9, 9), (0, 0, 0, 1)))
    with pytest.raises(ValueError, match="sample 1: the box around the mask is less than 2 pixels wide"):
        Preprocess(24)(frames)


def test_a_full_mask_is_cropped_beyond_the_frame() -> None:
    frames = made_frames(1, mask=torch.ones(1, 1, 40, 48))
    prepared = Preprocess(24)(frames)
    assert prepared.mask.mean() < 0.8 and prepared.mask[0, 0, 12, 12] == 1
    assert prepared.image[0, :, 0].abs().max() == 0


@pytest.mark.parametrize("kind", ["all NaN", "none in the mask", "infinite"])
def test_a_pointmap_without_points_in_the_mask_counts_as_none(kind: str) -> None:
    frames = made_frames(2)
    if kind == "none in the mask":
        frames.pointmap[0, :, 10:25, 12:30] = torch.nan
    else:
        frames.pointmap[0] = torch.nan if kind == "all NaN" else torch.inf
    prepared = Preprocess(24)(frames)
    assert prepared.has_pointmap.tolist() == [False, True]
    assert prepared.pointmap_scale[0].tolist() == [1.0] and prepared.pointmap_shift[0].tolist() == [0.0, 0.0, 0.0]
    assert not prepared.pointmap.isinf().any()


def test_pointmaps_of_another_size_and_none_at_all() -> None:
    frames = made_frames(2, pointmap=torch.rand(2, 3, 20, 24))
    assert Preprocess(24)(frames).rgb_pointmap.shape == (2, 3, 24, 24)
    prepared = Preprocess(24)(made_frames(2, pointmap=None))
    assert prepared.pointmap is None and prepared.rgb_pointmap is None
    assert [part.shape for part in prepared.pose_frame()] == [(2, 1), (2, 3), (2,)]
    assert prepared.pose_frame()[2].tolist() == [False, False]


def test_frames_of_several_sensors_share_a_batch() -> None:
    small, large = made_frames(1, 30, 40), made_frames(1, 40, 48, seed=2)
    sensors = (small, large)
    small.event_image.fill_(255)
    image, sizes = stack_frames([f.image[0] for f in sensors])
    mask, _ = stack_frames([f.mask[0] for f in sensors])
    points, _ = stack_frames([f.pointmap[0] for f in sensors], fill=math.nan)
    events, _ = stack_frames([f.event_image[0] for f in sensors])
    together = Preprocess(24)(Frames(image, mask, points, events, sizes=sizes))
    for i, sensor in enumerate(sensors):
        alone = Preprocess(24)(sensor)
        for name in ("image", "mask", "pointmap", "rgb_image", "rgb_image_mask", "rgb_pointmap", "rgb_event_image"):
            torch.testing.assert_close(getattr(together, name)[i], getattr(alone, name)[0], equal_nan=True)
        torch.testing.assert_close(together.pointmap_scale[i], alone.pointmap_scale[0])
    assert together.has_events.tolist() == [False, True]


def test_objects_of_one_frame_share_it() -> None:
    frames = made_frames(2)
    masks = mask_of(40, 48, (3, 3, 20, 20), (10, 10, 30, 40), (10, 12, 24, 29))
    index = torch.tensor([0, 0, 1])
    shared = Preprocess(24)(
        Frames(frames.image, masks, frames.pointmap, frames.event_image, image_index=index, ids="xyz")
    )
    repeated = Preprocess(24)(
        Frames(frames.image[index], masks, frames.pointmap[index], frames.event_image[index], ids="xyz")
    )
    assert len(shared.rgb_image) == 2 and len(shared.rgb_pointmap) == 3
    torch.testing.assert_close(shared.of_objects(shared.rgb_image), repeated.rgb_image)
    for name in ("image", "mask", "pointmap", "rgb_pointmap", "event_image", "pointmap_shift"):
        torch.testing.assert_close(getattr(shared, name), getattr(repeated, name), equal_nan=True)


@pytest.mark.parametrize("background", [0, 255])
def test_windows_without_events_are_found(background: int) -> None:
    frames = made_frames(2)
    frames.event_image[1] = background
    assert Preprocess(24)(frames).has_events.tolist() == [True, False]
    told = made_frames(2, has_events=torch.tensor([True, True]), event_image=torch.zeros(2, 3, 40, 48))
    assert Preprocess(24)(told).has_events.tolist() == [True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": torch.ones(2, 1, 20, 48)}, r"expected masks \(B, 1, 40, 48\)"),
        ({"event_image": torch.zeros(2, 3, 20, 48)}, "expected event images"),
        ({"pointmap": torch.zeros(2, 40, 48, 3)}, r"expected pointmaps \(B, 3, H, W\)"),
        ({"pointmap": torch.zeros(1, 3, 40, 48)}, "pointmap has 1 rows for 2 frames"),
        ({"mask": torch.ones(3, 1, 40, 48)}, "2 objects, but 3 masks"),
        ({"ids": ["a"]}, "2 objects, but 2 masks and ids"),
        ({"image": torch.zeros(2, 1, 40, 48)}, r"expected images \(B, 3, H, W\)"),
    ],
)
def test_shapes_that_disagree_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocess(24)(made_frames(2, **changes))
