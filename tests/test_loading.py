"""Reading, augmenting and representing: pure functions of seed, epoch and sample, and errors that name the sample."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests_support import render_small

from datasets_catalog.synthetic import DATASET
from eventsam.catalog import open_catalog
from eventsam.event_transforms import BackgroundActivityFilter, DropEvents, EventTransform, FlipEvents
from eventsam.events import Events
from eventsam.loading import Data, Loader, make_loader
from eventsam.representations.tencode import Tencode
from eventsam.sample import Sample
from eventsam.transforms import AlignToView, FullView, HorizontalFlip, ObjectCrop, Resize, Transform
from eventsam.windows import Window

KEYS = ("rgb", "rgb_blurry", "rgb_edi", "mask", "mask_blurry", "pointmap", "event_image", "occupancy", "pose")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("loading"), 4)


def loader(root: Path, *, seed: int = 0, keys: tuple[str, ...] = KEYS, augment: tuple[Transform, ...] = ()) -> Loader:
    data = Data("synthetic", str(root), Window(10.0), Tencode(), augment, (AlignToView(8),))
    return make_loader(DATASET, open_catalog(DATASET, root), data, keys, seed=seed, training=True)


def test_a_batch_holds_the_keys_asked_for_and_its_place(root: Path) -> None:
    batch = loader(root).batch(np.arange(4, dtype=np.int64))
    assert set(batch) == {*KEYS, "sample_index", "position"}
    assert batch["position"].tolist() == [0, 1, 2, 3]
    assert batch["rgb"].shape == (4, 3, 32, 32)
    assert batch["occupancy"].shape == (4, 8, 8, 8)


def test_augmentation_depends_on_epoch_and_sample_not_on_the_order_of_calls(root: Path) -> None:
    flipping = loader(root, augment=(HorizontalFlip(),))
    size = flipping.order.num_samples
    forwards = [flipping.sample(index, index) for index in range(size)]
    backwards = [flipping.sample(index, index) for index in reversed(range(size))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert all(np.array_equal(one[key], other[key], equal_nan=key == "pointmap") for key in KEYS)
    later = [flipping.sample(index, size + index) for index in range(size)]
    assert any((one["rgb"] != other["rgb"]).any() for one, other in zip(forwards, later, strict=True))


def test_keys_that_only_a_transform_needs_are_read_and_not_shipped(root: Path) -> None:
    batch = loader(root, keys=("occupancy",)).batch(np.arange(2, dtype=np.int64))
    assert set(batch) == {"occupancy", "sample_index", "position"}


def test_full_views_are_made_of_the_image_before_its_crop(root: Path) -> None:
    prepare = (FullView(32, 32, ("rgb", "event_image")), ObjectCrop(), Resize(16, 16))
    keys = ("rgb", "rgb_full", "event_image_full")
    data = Data("synthetic", str(root), Window(10.0), Tencode(), prepare=prepare)
    catalog = open_catalog(DATASET, root)
    sample = make_loader(DATASET, catalog, data, keys, seed=0, training=True).sample(0, 0)
    assert set(sample) == {*keys, "sample_index", "position"}
    assert sample["rgb"].shape == (3, 16, 16)
    plain = Data("synthetic", str(root), Window(10.0), Tencode())
    whole = make_loader(DATASET, catalog, plain, ("rgb", "event_image"), seed=0, training=True).sample(0, 0)
    assert np.array_equal(sample["rgb_full"], whole["rgb"])
    assert np.array_equal(sample["event_image_full"], whole["event_image"])


def test_a_full_view_that_nobody_makes_is_refused(root: Path) -> None:
    with pytest.raises(KeyError, match=r"does not provide rgb_full .*: data\.prepare makes full views with a FullView"):
        loader(root, keys=("rgb_full",))


def test_unknown_key_names_the_nearest(root: Path) -> None:
    with pytest.raises(KeyError, match="did you mean 'occupancy'"):
        loader(root, keys=("occupancies",))


def test_key_that_the_dataset_lacks_is_refused(root: Path) -> None:
    davis_like = type(DATASET)(provides=("rgb",))
    catalog = open_catalog(DATASET, root)
    data = Data("synthetic", str(root), Window(10.0), Tencode())
    with pytest.raises(KeyError, match=r"does not provide event_image|does not provide events"):
        make_loader(davis_like, catalog, data, ("rgb", "event_image"), seed=0, training=True)


@dataclass(frozen=True)
class Emptied:
    """Empties the mask, as a bad sample would."""

    needs: tuple[str, ...] = ("mask",)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample | {"mask": np.zeros_like(sample["mask"])}


def test_an_empty_mask_names_the_sample(root: Path) -> None:
    with pytest.raises(ValueError, match=r"sample 'procedural-.*.*empty"):
        loader(root, augment=(Emptied(), ObjectCrop())).batch(np.arange(1, dtype=np.int64))


def event_loader(
    root: Path,
    augment_events: tuple[EventTransform, ...] = (),
    prepare_events: tuple[EventTransform, ...] = (),
    *,
    keys: tuple[str, ...] = ("event_image",),
    margin_ms: float = 0.0,
    training: bool = True,
) -> Loader:
    data = Data(
        "synthetic", str(root), Window(10.0), Tencode(), augment=(HorizontalFlip(),) if "rgb" in keys else (),
        augment_events=augment_events, prepare_events=prepare_events, events_margin_ms=margin_ms,
        validation_split="train",
    )  # fmt: skip
    return make_loader(DATASET, open_catalog(DATASET, root), data, keys, seed=0, training=training)


def images(loader: Loader, epoch: int = 0) -> np.ndarray:
    size = loader.order.num_samples
    rows = {row: loader.sample(row, epoch * size + row)["event_image"] for row in reversed(range(size))}
    return np.stack([rows[row] for row in range(size)])


def test_event_augmentation_is_for_training_and_filters_are_everywhere(root: Path) -> None:
    halving, filtering = DropEvents(0.5, 0.5), BackgroundActivityFilter(500)
    cases = ((), ((halving,),), ((), (filtering,)))
    plain, dropped, filtered = (images(event_loader(root, *transforms)) for transforms in cases)
    assert (dropped != plain).any() and (filtered != plain).any()
    assert np.count_nonzero(dropped.any(axis=1)) < np.count_nonzero(plain.any(axis=1))
    plain, dropped, filtered = (
        images(event_loader(root, *transforms, training=False))
        for transforms in ((), ((halving,),), ((), (filtering,)))
    )
    assert (dropped == plain).all() and (filtered != plain).any()


def test_event_augmentation_is_a_function_of_epoch_and_sample(root: Path) -> None:
    one, other = (event_loader(root, (DropEvents(0.5, 0.5),)) for _ in range(2))
    first = images(one)
    np.testing.assert_array_equal(images(other), first)
    np.testing.assert_array_equal(one.sample(1, 1)["event_image"], first[1])
    assert (images(one, epoch=1) != first).any()


def test_reading_events_changes_no_other_draw(root: Path) -> None:
    with_events = event_loader(root, (DropEvents(),), keys=("rgb", "event_image"))
    without = event_loader(root, (DropEvents(),), keys=("rgb",))
    for row in range(with_events.order.num_samples):
        np.testing.assert_array_equal(with_events.sample(row, row)["rgb"], without.sample(row, row)["rgb"])


@dataclass(frozen=True)
class Later:
    """Moves every event by a fixed time."""

    delay: int
    geometric: bool = False
    random: bool = False

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        return Events(events.x, events.y, events.t + self.delay, events.p, events.height, events.width)


def test_the_margin_is_read_and_never_shown(root: Path) -> None:
    np.testing.assert_array_equal(images(event_loader(root, margin_ms=5.0)), images(event_loader(root)))
    moved = event_loader(root, (), (Later(4000),), margin_ms=5.0)
    row = moved.catalog.row(0)
    t0, t1 = Window(10.0).around(row["t_us"])
    earlier = DATASET.events(root, row, t0 - 4000, t1 - 4000)
    np.testing.assert_array_equal(images(moved)[0], Tencode()(earlier, t0 - 4000, t1 - 4000))


def test_geometric_event_augmentation_is_refused_beside_images(root: Path) -> None:
    assert (images(event_loader(root, (FlipEvents(probability=1.0),))) == images(event_loader(root))[..., ::-1]).all()
    with pytest.raises(ValueError, match=r"holds FlipEvents, which would misalign the events with rgb: augment"):
        event_loader(root, (FlipEvents(),), keys=("rgb", "event_image"))
    # Refused, too, for an image that a transform looks at.
    data = Data(
        "synthetic", str(root), Window(10.0), Tencode(), prepare=(ObjectCrop(),), augment_events=(FlipEvents(),)
    )
    with pytest.raises(ValueError, match="misalign the events with mask"):
        make_loader(DATASET, open_catalog(DATASET, root), data, ("event_image",), seed=0, training=True)


def test_random_filters_and_impossible_margins_are_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="prepare_events holds DropEvents, which is random: put it in augment_events"):
        event_loader(root, (), (DropEvents(),))
    with pytest.raises(ValueError, match="events_margin_ms is -1"):
        event_loader(root, margin_ms=-1.0)
