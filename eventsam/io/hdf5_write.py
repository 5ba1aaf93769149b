"""Columns of events appended to the datasets of a new HDF5 file, in whole chunks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from eventsam.events import Events

CHUNK_ROWS = 1 << 16
"""Rows of a chunk: small enough for a window of 50 ms, large enough to compress."""


@dataclass(frozen=True)
class EventColumn:
    """A dataset that takes one column (x, y, t or p) of the events."""

    dataset: str
    column: str
    dtype: DTypeLike


class ColumnFile:
    """A new file of which each dataset grows with the events."""

    def __init__(self, path: Path, columns: Sequence[EventColumn], settings: Mapping[str, Any]) -> None:
        """Create the datasets, compressed as h5py's `settings` say."""
        self.handle = h5py.File(path, "w")
        self.num_events = 0
        self._columns, self._settings = columns, settings
        self._waiting: list[dict[str, NDArray[Any]]] = []
        for column in columns:
            self.create(column.dataset, column.dtype)

    def create(self, name: str, dtype: DTypeLike) -> h5py.Dataset:
        """Create an empty dataset that can grow."""
        return self.handle.create_dataset(name, (0,), dtype, chunks=(CHUNK_ROWS,), maxshape=(None,), **self._settings)

    def state_size(self, height: int, width: int) -> None:
        """Write the sensor size as attributes of the file."""
        self.handle.attrs["height"], self.handle.attrs["width"] = height, width

    def append(self, events: Events, t: NDArray[np.int64]) -> None:
        """Append events, with times as the file counts them; chunks are written once they are full."""
        self._waiting.append({"x": events.x, "y": events.y, "t": t, "p": events.p})
        if sum(len(part["t"]) for part in self._waiting) >= CHUNK_ROWS:
            self._write(whole=True)

    def _write(self, whole: bool) -> None:
        if not self._waiting:
            return
        joined = {name: np.concatenate([part[name] for part in self._waiting]) for name in self._waiting[0]}
        num = len(joined["t"]) // CHUNK_ROWS * CHUNK_ROWS if whole else len(joined["t"])
        for column in self._columns:
            extend(self.handle[column.dataset], joined[column.column][:num])
        self.num_events += num
        self._waiting = [{name: values[num:].copy() for name, values in joined.items()}]

    def __enter__(self) -> "ColumnFile":
        """Return the file, open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits and close the file."""
        try:
            if kind is None:
                self._write(whole=False)
        finally:
            self.handle.close()


def extend(dataset: h5py.Dataset, values: NDArray[Any]) -> None:
    """Append rows to a dataset."""
    if not len(values):
        return
    first = len(dataset)
    dataset.resize(first + len(values), axis=0)
    dataset[first:] = values.astype(dataset.dtype)
