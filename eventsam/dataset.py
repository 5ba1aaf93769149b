"""What a dataset must offer: an index of its samples and a reader for one of them."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from eventsam.events import Events
from eventsam.sample import Sample

INDEX_COLUMNS: Mapping[str, pa.DataType] = {
    "sample_id": pa.string(),
    "object_id": pa.string(),
    "shard": pa.string(),
    "t_us": pa.int64(),
    "exposure_start_us": pa.int64(),
    "exposure_end_us": pa.int64(),
    "num_events": pa.int64(),
    "split": pa.string(),
}
"""The columns that every index has; a dataset may add its own."""


class Dataset(Protocol):
    """A datasets_catalog entry: what the recordings are and how one sample of them is read.

    `provides` names the sample keys that `read` can fill; `"events"` among them says that `events` works.
    """

    @property
    def name(self) -> str:
        """The module's name in datasets_catalog."""

    @property
    def sensor(self) -> str:
        """Camera model and pixel size."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Values of the index's split column."""

    @property
    def licence(self) -> str:
        """Terms of the data."""

    @property
    def citation(self) -> str:
        """The paper or page to cite."""

    @property
    def provides(self) -> tuple[str, ...]:
        """Sample keys that can be read."""

    def index(self, root: Path) -> pa.Table:
        """Return one row per sample with at least `INDEX_COLUMNS`; raise ValueError naming a faulty file."""

    def read(self, root: Path, row: Mapping[str, Any], keys: Collection[str]) -> Sample:
        """Read the named keys of one row at sensor resolution; raise KeyError for a key not provided."""

    def events(self, root: Path, row: Mapping[str, Any], t0: int, t1: int) -> Events:
        """Read the events of the row's recording with t in [t0, t1) us."""
