"""Read, augment and represent: one index row to one sample, and positions to a batch of arrays."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.catalog import Catalog, absolute
from eventsam.dataset import Dataset
from eventsam.event_transforms import EventTransform, apply_transforms
from eventsam.order import Order, sample_generator
from eventsam.quarantine import Entry, Quarantine, SampleError, without_known
from eventsam.representations import Representation
from eventsam.sample import Sample, check_key, check_sample
from eventsam.targets import KEYS as TARGET_KEYS
from eventsam.targets import Targets, open_targets
from eventsam.transforms.transform import SPATIAL_KEYS, Transform, made_by
from eventsam.windows import Window

MADE_HERE = ("sample_index", "position", "event_image")
"""Keys that no dataset reads: the loader makes them."""

ALIGNED_KEYS = (*(key for key in SPATIAL_KEYS if key != "event_image"), "occupancy", "pose")
"""Keys that a mirrored, cut or rescaled event image no longer matches."""

READ_ERRORS = (ValueError, OSError, LookupError, RuntimeError)
"""What readers, HDF5 and transforms raise for a sample that is broken."""
REREAD_AFTER_S = (0.05, 0.25)
"""Waits before an OSError is believed: a busy network file system is no broken sample."""
MAX_STAND_INS = 32


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

    `max_bad_share` is how large a share of a split's samples may turn out unreadable before the run stops: each is
    recorded and its place taken by a stand-in, as `quarantine.py` describes; 0 stops at the first.

    `targets` is the folder that `eventsam targets` made of the same catalog, for tasks that read a teacher's answers;
    those are of whole frames as they are, so `augment` is refused beside them.
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
    max_bad_share: float = 0.0
    targets: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad_share < 1:
            raise ValueError(f"max_bad_share is {self.max_bad_share}, allowed: 0 to below 1")
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
    quarantine: Quarantine | None = None
    targets: Targets | None = None

    def __post_init__(self) -> None:
        for key in self.keys:
            check_key(key)
        provided = (*self.dataset.provides, *MADE_HERE, *(TARGET_KEYS if self.targets else ()))
        lacking = sorted(key for key in self._sources if key not in provided)
        if "event_image" in self._sources and "events" not in self.dataset.provides:
            lacking.append("events")
        if lacking:
            raise KeyError(
                f"dataset {self.dataset.name!r} does not provide {', '.join(lacking)} (it provides: "
                f"{', '.join(self.dataset.provides)})"
                + (": data.prepare makes full views with a FullView" if lacking[0].endswith("_full") else "")
                + (": name their folder in data.targets" if lacking[0] in TARGET_KEYS else "")
            )
        if set(self.keys) & set(TARGET_KEYS) and self.data.augment:
            raise ValueError("data.augment must be empty beside stored targets, which are of frames as they are")
        self._check_geometry()

    def batch(self, positions: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the samples at the given positions, stacked; `position` and `sample_index` say which they are.

        With a quarantine that allows it, a stand-in takes the place of a sample that cannot be read.

        Raises:
            SampleError: a sample cannot be read and the run allows none.
            TooManyBadSamplesError: more of them than the run allows.
        """
        rows = self.order.rows(positions)
        decided = self.quarantine.entries(self._selection) if self.quarantine else {}
        samples = [
            self._sample_or_stand_in(int(row), int(position), decided)
            for row, position in zip(rows, positions, strict=True)
        ]
        return {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}

    def sample(self, index: int, position: int) -> Sample:
        """Return one sample with the keys asked for.

        Raises:
            SampleError: the sample cannot be read or shown as asked; the message names it.
        """
        row = self.catalog.row(index)
        epoch = self.order.epoch_of(position)
        try:
            generator = sample_generator(self.order.seed, epoch, row["sample_id"])
            sample = self._read(row, generator)
            for transform in self._transforms:
                sample = transform(sample, generator)
            sample["sample_index"] = np.asarray(index, np.int64)
            sample["position"] = np.asarray(position, np.int64)
            kept = {key: np.asarray(sample[key], order="C") for key in sorted({*self.keys, "sample_index", "position"})}
            check_sample(kept, row["sample_id"])
        except READ_ERRORS as error:
            raise SampleError(row["sample_id"], self.catalog.root, str(error)) from error
        return kept

    @property
    def _transforms(self) -> tuple[Transform, ...]:
        return (*self.data.augment, *self.data.prepare) if self.augmented else self.data.prepare

    @property
    def _sources(self) -> frozenset[str]:
        """What must be there before the transforms: the keys asked for, or those that transforms make them from."""
        made = made_by(self._transforms)
        return frozenset(made.get(key, key) for key in self.keys)

    @property
    def _selection(self) -> str:
        return "training" if self.augmented else "validation"

    def _sample_or_stand_in(self, index: int, position: int, decided: Mapping[int, Entry]) -> Sample:
        if position in decided:
            # Redone after a restart: what filled this place then fills it now, even if the sample reads well again.
            return self.sample(decided[position].stand_in, position)
        if self.quarantine is None:
            return self.sample(index, position)
        try:
            return self._patient_sample(index, position)
        except SampleError as error:
            if self.quarantine.max_share == 0:
                self.quarantine.refuse(error)
                raise
            stand_in, sample = self._stand_in(error.sample_id, position)
            entry = Entry(self._selection, position, error.sample_id, error.reason, stand_in)
            self.quarantine.add(entry, self.order.num_samples)
            return sample

    def _patient_sample(self, index: int, position: int) -> Sample:
        for wait_s in REREAD_AFTER_S:
            try:
                return self.sample(index, position)
            except SampleError as error:
                if not isinstance(error.__cause__, OSError):
                    raise
                time.sleep(wait_s)
        return self.sample(index, position)

    def _stand_in(self, bad_id: str, position: int) -> tuple[int, Sample]:
        """The first readable of a sequence of rows drawn from (seed, epoch, the bad sample's id)."""
        generator = sample_generator(self.order.seed, self.order.epoch_of(position), f"stand-in for {bad_id}")
        for row in generator.integers(self.order.num_samples, size=MAX_STAND_INS).tolist():
            try:
                return row, self._patient_sample(row, position)
            except SampleError as error:
                last = error
        raise SampleError(bad_id, self.catalog.root, f"and {MAX_STAND_INS} others in its stead fail too, last: {last}")

    def _read(self, row: Mapping[str, Any], generator: np.random.Generator) -> Sample:
        sample = self.dataset.read(self.catalog.root, row, self._keys_on_disk())
        if "event_image" in self._sources:
            t0, t1 = self.data.window.around(row["t_us"])
            margin = round(self.data.events_margin_ms * 1000)
            events = self.dataset.events(self.catalog.root, row, t0 - margin, t1 + margin)
            # Spawned generators: the sample's own draws stay the same whether or not events are read.
            transforms = (*self.data.prepare_events, *(self.data.augment_events if self.augmented else ()))
            events = apply_transforms(transforms, events, generator)
            sample["event_image"] = self.data.representation(events, t0, t1)
        if self.targets is not None and self._sources & set(TARGET_KEYS):
            sample |= self.targets.read(row["sample_id"])
        return sample

    def _check_geometry(self) -> None:
        """Refuse augmentations that would misalign the events with other parts of the sample."""
        geometric = [type(transform).__name__ for transform in self.data.augment_events if transform.geometric]
        aligned = sorted({*self._sources, *self._keys_on_disk()} & set(ALIGNED_KEYS))
        if geometric and aligned and "event_image" in self._sources:
            raise ValueError(
                f"augment_events holds {', '.join(geometric)}, which would misalign the events with "
                f"{', '.join(aligned)}: augment the whole sample (`augment`, as with transforms.HorizontalFlip)"
            )

    def _keys_on_disk(self) -> Collection[str]:
        """The keys asked for and those that the transforms look at."""
        transforms = (*self.data.augment, *self.data.prepare)
        looked_at = {key for transform in transforms for key in transform.needs}
        wanted = {*self._sources, *(looked_at & set(self.dataset.provides))}
        return tuple(sorted(wanted - {*MADE_HERE, *TARGET_KEYS}))


def make_loader(
    dataset: Dataset, catalog: Catalog, data: Data, keys: Collection[str], *, seed: int, training: bool
) -> Loader:
    """Return the loader of a run's training samples, or of its validation samples in their fixed order."""
    split = data.train_split if training else data.validation_split
    selection = without_known(catalog.select(split, data.where))
    order = Order(selection.table.num_rows, seed, selection.hash, shuffle=training)
    targets = open_targets(absolute(data.targets), catalog.hash) if data.targets is not None else None
    return Loader(dataset, selection, data, tuple(sorted(keys)), order, augmented=training, targets=targets)
