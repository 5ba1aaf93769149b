"""What holds for every transform: valid output, untouched input, randomness that does not depend on the keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.sample import KEYS, Sample, check_sample
from eventsam.transforms import (
    AlignToView,
    GaussianBlur,
    HorizontalFlip,
    MaskJitter,
    MotionBlur,
    ObjectCrop,
    RandomCrop,
    RandomMaskSource,
    Resize,
    Transform,
    WaveletSplit,
)

TRANSFORMS: tuple[Transform, ...] = (
    HorizontalFlip(probability=1.0),
    ObjectCrop(),
    RandomCrop(size=12),
    Resize(height=17, width=23),
    GaussianBlur(probability=1.0),
    MotionBlur(probability=1.0),
    MotionBlur(probability=1.0, key="rgb"),
    WaveletSplit(),
    MaskJitter(probability=1.0),
    RandomMaskSource(probability=1.0),
    AlignToView(resolution=8),
)
IMAGES = ("rgb", "rgb_blurry", "rgb_edi", "mask", "mask_blurry", "pointmap", "event_image")


def random_pose(rng: np.random.Generator) -> np.ndarray:
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3] = rotation * np.sign(np.linalg.det(rotation))
    pose[:3, 3] = *rng.uniform(-0.2, 0.2, 2), 2.0
    return pose


def random_sample(seed: int, height: int, width: int, event_dtype: str) -> Sample:
    rng = np.random.default_rng(seed)
    sample: Sample = {key: rng.integers(0, 256, (3, height, width), dtype=np.uint8) for key in IMAGES[:3]}
    for key in ("mask", "mask_blurry"):
        sample[key] = np.zeros((1, height, width), dtype=np.uint8)
        top, left = rng.integers(0, height - 2), rng.integers(0, width - 2)
        sample[key][:, top : top + rng.integers(1, height), left : left + rng.integers(1, width)] = 1
    sample["pointmap"] = rng.standard_normal((3, height, width)).astype(np.float32)
    sample["pointmap"][:, rng.random((height, width)) < 0.3] = np.nan
    events = rng.integers(0, 256, (5 if event_dtype == "float32" else 3, height, width))
    sample["event_image"] = events.astype(event_dtype)
    sample["occupancy"] = rng.random((8, 8, 8)) < 0.2
    sample["pose"] = random_pose(rng)
    sample["sample_index"] = np.array(seed, dtype=np.int64)
    sample["position"] = np.array(3, dtype=np.int64)
    for array in sample.values():
        array.setflags(write=False)  # a transform that writes into its input fails loudly
    return sample


samples = st.builds(
    random_sample,
    st.integers(0, 10_000),
    st.integers(12, 40),
    st.integers(12, 40),
    st.sampled_from(["uint8", "float32"]),
)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
@settings(deadline=None, max_examples=25)
@given(sample=samples, keys=st.sets(st.sampled_from(sorted(KEYS))), seed=st.integers(0, 1000))
def test_output_is_valid_and_input_untouched(transform: Transform, sample: Sample, keys: set[str], seed: int) -> None:
    subset = {key: array for key, array in sample.items() if key in keys | set(transform.needs)}
    before = {key: array.tobytes() for key, array in subset.items()}
    after = transform(subset, np.random.default_rng(seed))
    check_sample(after, "output")
    assert after is not subset
    assert list(after) == list(subset)
    assert {key: array.tobytes() for key, array in subset.items()} == before
    assert all(after[key].dtype == subset[key].dtype for key in subset)
    assert len({after[key].shape[-2:] for key in IMAGES if key in after}) <= 1
    for key in {"mask", "mask_blurry"} & set(after):
        assert set(np.unique(after[key])) <= {0, 1}
    for key in {"pointmap", "rgb", "event_image", "occupancy"} & set(after):
        assert after[key].flags.c_contiguous


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
def test_one_key_more_does_not_change_the_augmentation(transform: Transform) -> None:
    sample = random_sample(7, 30, 20, "uint8")
    for key in ("rgb", "rgb_blurry", "event_image"):
        few = {name: sample[name] for name in {key, *transform.needs}}
        lone_rng, full_rng = np.random.default_rng(5), np.random.default_rng(5)
        alone, full = transform(few, lone_rng), transform(sample, full_rng)
        np.testing.assert_array_equal(alone[key], full[key])
        assert lone_rng.random() == full_rng.random()


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
def test_same_generator_state_same_result(transform: Transform) -> None:
    sample = random_sample(11, 25, 31, "float32")
    first, second = (transform(sample, np.random.default_rng(2)) for _ in range(2))
    for key in sample:
        np.testing.assert_array_equal(first[key], second[key])


def test_a_chain_of_all_keeps_the_sample_valid() -> None:
    sample, rng = random_sample(3, 40, 36, "uint8"), np.random.default_rng(0)
    for transform in TRANSFORMS:
        sample = transform(sample, rng)
    check_sample(sample, "chain")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: HorizontalFlip(probability=1.5), "probability is 1.5"),
        (lambda: ObjectCrop(scale=0), "scale is 0"),
        (lambda: ObjectCrop(key="rgb"), "allowed: mask, mask_blurry"),
        (lambda: RandomCrop(size=0), "size is 0"),
        (lambda: RandomCrop(size=4, min_mask_share=-1), "min_mask_share is -1"),
        (lambda: Resize(height=0, width=3), "0 x 3"),
        (lambda: GaussianBlur(min_kernel=4), "odd"),
        (lambda: GaussianBlur(min_kernel=9, max_kernel=7), "9 to 7"),
        (lambda: MotionBlur(key="mask"), "key is 'mask'"),
        (lambda: WaveletSplit(max_levels=9), "max_levels is 9"),
        (lambda: WaveletSplit(event_background=256), "event_background is 256"),
        (lambda: MaskJitter(max_pixels=0), "max_pixels is 0"),
        (lambda: AlignToView(resolution=0), "resolution is 0"),
    ],
)
def test_impossible_choices_are_refused_where_they_are_written(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
