"""Read, augment and represent: one index row to one sample, and positions to a batch of arrays."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.catalog import Catalog
from eventsam.dataset import Dataset
from eventsam.event_transforms import EventTransform, apply_transforms
from eventsam.order import Order, sample_generator
from eventsam.representations import Representation
from eventsam.sample import Sample, check_key, check_sample
from eventsam.transforms.transform import SPATIAL_KEYS, Transform
from eventsam.windows import Window

MADE_HERE = ("sample_index", "position", "event_image")
"""Keys that no dataset reads: the loader makes them."""

ALIGNED_KEYS = (*(key for key in SPATIAL_KEYS if key != "event_image"), "occupancy", "pose")
"""Keys that a mirrored, cut or rescaled event image no longer matches."""


@dataclass(frozen=True)
class Data:
    """Which samples a run reads and how they are shown to the model.

    `where` keeps rows whose index columns hold one of the given values, as in `{"blur": ("hard",)}`. `augment` is
    random and for training alone; `prepare` follows it everywhere.

    The events themselves pass through `prepare_events` (filters: everywhere, nothing random) and then, in training,
    through `augment_events`, before they are represented. They are read `events_margin_ms` further on either side for
    filters that look back and for events that are moved in time; the representation sees its own window alone.
    Geometric event transforms leave the other images of a sample as they are: in `augment_events` they are refused
    beside such keys; in `prepare_events` the one who writes them vouches that all match.
    """

    dataset: str
    root: str
    window: Window
    representation: Representation
    augment: tuple[Transform, ...] = ()
    prepare: tuple[Transform, ...] = ()
    augment_events: tuple[EventTransform, ...] = ()
    prepare_events: tuple[EventTransform, ...] = ()
    events_margin_ms: float = 0.0
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    train_split: str = "train"
    validation_split: str = "val"

    def __post_init__(self) -> None:
        drawing = [type(transform).__name__ for transform in self.prepare_events if transform.random]
        if drawing:
            raise ValueError(f"prepare_events holds {', '.join(drawing)}, which is random: put it in augment_events")
        if not 0 <= self.events_margin_ms < float("inf"):
            raise ValueError(f"events_margin_ms is {self.events_margin_ms}, allowed: finite, 0 or more")


@dataclass(frozen=True)
class Loader:
    """Reads the samples of one selection of a catalog; cheap to send to another process."""

    dataset: Dataset
    catalog: Catalog
    data: Data
    keys: tuple[str, ...]
    order: Order
    augmented: bool

    def __post_init__(self) -> None:
        for key in self.keys:
            check_key(key)
        provided = (*self.dataset.provides, *MADE_HERE)
        lacking = [key for key in self.keys if key not in provided]
        if "event_image" in self.keys and "events" not in self.dataset.provides:
            lacking.append("events")
        if lacking:
            raise KeyError(
                f"dataset {self.dataset.name!r} does not provide {', '.join(lacking)} (it provides: "
                f"{', '.join(self.dataset.provides)})"
            )
        self._check_geometry()

    def batch(self, positions: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the samples at the given positions, stacked; `position` and `sample_index` say which they are."""
        rows = self.order.rows(positions)
        samples = [self.sample(int(row), int(position)) for row, position in zip(rows, positions, strict=True)]
        return {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}

    def sample(self, index: int, position: int) -> Sample:
        """Return one sample with the keys asked for.

        Raises:
            ValueError: the sample cannot be read or shown as asked; the message names it.
        """
        row = self.catalog.row(index)
        epoch = self.order.epoch_of(position)
        try:
            generator = sample_generator(self.order.seed, epoch, row["sample_id"])
            sample = self._read(row, generator)
            for transform in (*self.data.augment, *self.data.prepare) if self.augmented else self.data.prepare:
                sample = transform(sample, generator)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(f"sample {row['sample_id']!r} of {self.catalog.root}: {error}") from error
        sample["sample_index"] = np.asarray(index, np.int64)
        sample["position"] = np.asarray(position, np.int64)
        kept = {key: np.asarray(sample[key], order="C") for key in sorted({*self.keys, "sample_index", "position"})}
        check_sample(kept, row["sample_id"])
        return kept

    def _read(self, row: Mapping[str, Any], generator: np.random.Generator) -> Sample:
        sample = self.dataset.read(self.catalog.root, row, self._keys_on_disk())
        if "event_image" in self.keys:
            t0, t1 = self.data.window.around(row["t_us"])
            margin = round(self.data.events_margin_ms * 1000)
            events = self.dataset.events(self.catalog.root, row, t0 - margin, t1 + margin)
            # Spawned generators: the sample's own draws stay the same whether or not events are read.
            transforms = (*self.data.prepare_events, *(self.data.augment_events if self.augmented else ()))
            events = apply_transforms(transforms, events, generator)
            sample["event_image"] = self.data.representation(events, t0, t1)
        return sample

    def _check_geometry(self) -> None:
        """Refuse augmentations that would misalign the events with other parts of the sample."""
        geometric = [type(transform).__name__ for transform in self.data.augment_events if transform.geometric]
        aligned = sorted({*self.keys, *self._keys_on_disk()} & set(ALIGNED_KEYS))
        if geometric and aligned and "event_image" in self.keys:
            raise ValueError(
                f"augment_events holds {', '.join(geometric)}, which would misalign the events with "
                f"{', '.join(aligned)}: augment the whole sample (`augment`, as with transforms.HorizontalFlip)"
            )

    def _keys_on_disk(self) -> Collection[str]:
        """The keys asked for and those that the transforms look at."""
        transforms = (*self.data.augment, *self.data.prepare)
        looked_at = {key for transform in transforms for key in transform.needs}
        wanted = {*self.keys, *(looked_at & set(self.dataset.provides))}
        return tuple(sorted(wanted - set(MADE_HERE)))


def make_loader(
    dataset: Dataset, catalog: Catalog, data: Data, keys: Collection[str], *, seed: int, training: bool
) -> Loader:
    """Return the loader of a run's training samples, or of its validation samples in their fixed order."""
    split = data.train_split if training else data.validation_split
    selection = catalog.select(split, data.where)
    order = Order(selection.table.num_rows, seed, selection.hash, shuffle=training)
    return Loader(dataset, selection, data, tuple(sorted(keys)), order, augmented=training)
