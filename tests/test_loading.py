"""Reading, augmenting and representing: pure functions of seed, epoch and sample, and errors that name the sample."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests_support import render_small

from datasets_catalog.synthetic import DATASET
from eventsam.catalog import open_catalog
from eventsam.loading import Data, Loader, make_loader
from eventsam.representations.tencode import Tencode
from eventsam.sample import Sample
from eventsam.transforms import AlignToView, HorizontalFlip, ObjectCrop, Transform
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
