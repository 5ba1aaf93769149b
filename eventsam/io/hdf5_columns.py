"""Events of an HDF5 file as blocks: from four datasets, one (N, 4) table, or one compound dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.io.block_recording import BlockTable
from eventsam.io.column_blocks import BLOCK_EVENTS, ColumnSource, RawColumns, StoredColumns, check_columns
from eventsam.io.hdf5_file import Hdf5Array, Hdf5File
from eventsam.io.named_columns import Clock, ColumnNames
from eventsam.io.recording import Backward, OpenOptions, RecordingError

MAX_BLOCK_EVENTS = 1 << 22
"""Chunks of more rows are decoded once per block of this many."""
MAX_MS = 1 << 25
"""A millisecond index that is longer (9 hours) is not used."""
NUM_PROBES = 16
"""Block limits at which a millisecond index is compared with the times."""


class DatasetColumns(StoredColumns):
    """Columns that are datasets of their own."""

    def __init__(self, file: Hdf5File, names: ColumnNames) -> None:
        """Open the four datasets and check that they fit together."""
        self._arrays = [file.array(name) for name in (names.x, names.y, names.t, names.p)]
        for array in self._arrays:
            if not array.is_vector:
                raise RecordingError(f"{file.path}: {array.name} has shape {array.shape}, expected one column")
        described = {array.name: (len(array), array.dtype) for array in self._arrays}
        self.num_events = check_columns(file.path, described)
        self.block_events = block_events(self._arrays[2].chunk_rows)
        self.time_dtype = self._arrays[2].dtype

    def read(self, first: int, end: int) -> RawColumns:
        """Read a part of each dataset."""
        x, y, t, p = (array.read(first, end) for array in self._arrays)
        return x, y, t, p

    def read_times(self, first: int, end: int) -> NDArray[Any]:
        """Read a part of the times."""
        return self._arrays[2].read(first, end)


class TableColumns(StoredColumns):
    """Columns of one (N, 4) dataset, by number, or of one compound dataset, by field."""

    def __init__(self, file: Hdf5File, name: str, order: tuple[int, int, int, int] | tuple[str, str, str, str]) -> None:
        """Open the dataset; `order` says which of its columns are x, y, t, p."""
        self._array, self._order = file.array(name), order
        dtype = self._array.dtype
        if isinstance(order[0], str):
            fields: Mapping[str, Any] = dtype.fields or {}
            if not all(field in fields for field in order):
                raise RecordingError(f"{file.path}: {name} holds {dtype}, expected fields {', '.join(map(str, order))}")
            columns = {f"{name}.{field}": fields[str(field)][0] for field in order}
        else:
            if self._array.shape[1:] != (4,):
                raise RecordingError(f"{file.path}: {name} has shape {self._array.shape}, expected (events, 4)")
            columns = {name: dtype}
        self.num_events = check_columns(file.path, {key: (len(self._array), kind) for key, kind in columns.items()})
        self.block_events = block_events(self._array.chunk_rows)
        self.time_dtype: np.dtype[Any] = self._column(np.empty((0, 4) if dtype.fields is None else 0, dtype), 2).dtype

    def read(self, first: int, end: int) -> RawColumns:
        """Read whole rows."""
        rows = self._array.read(first, end)
        x, y, t, p = (self._column(rows, number) for number in range(4))
        return x, y, t, p

    def read_times(self, first: int, end: int) -> NDArray[Any]:
        """Read the times: of whole rows, which lie together."""
        return self._column(self._array.read(first, end), 2)

    def _column(self, rows: NDArray[Any], number: int) -> NDArray[Any]:
        place = self._order[number]
        return rows[place] if isinstance(place, str) else rows[:, place]


class MillisecondSource(ColumnSource):
    """Blocks bounded by an index of milliseconds (DSEC's `ms_to_idx`), so that the times need not be read to open.

    Entry `ms` of the index is the first event at or after that millisecond. It is compared with the times at some
    blocks' limits; an index that is not exact there is left aside, and one that is wrong elsewhere is named when the
    block is read. Times known to the millisecond suffice only where they may not go back.
    """

    def __init__(
        self,
        path: Path,
        columns: StoredColumns,
        clock: Clock,
        reader: str,
        options: OpenOptions,
        index: Hdf5Array | None,
    ) -> None:
        """Keep the index beside what `ColumnSource` takes."""
        super().__init__(path, columns, clock, reader, options.index_folder)
        self._backward: Backward = options.backward
        self._index = index

    def table(self) -> BlockTable:
        """Return blocks by the index where it serves, else by the times."""
        return self._by_index() or super().table()

    def _by_index(self) -> BlockTable | None:
        num_events = self.columns.num_events
        if self._index is None or self._backward != "refuse" or not 2 <= len(self._index) <= MAX_MS or not num_events:
            return None
        index = self._index.read(0, len(self._index)).astype(np.int64)
        if index[0] != 0 or (np.diff(index) < 0).any() or index[-1] > num_events:
            return None
        wanted = np.arange(self.columns.block_events, num_events, self.columns.block_events)
        cuts = np.unique(np.searchsorted(index, wanted, side="right") - 1)
        cuts = cuts[(index[cuts] > 0) & (index[cuts] < num_events)]
        limits = np.concatenate([[0], index[cuts], [num_events]]).astype(np.int64)
        if (np.diff(limits) > MAX_BLOCK_EVENTS).any() or not self._is_exact(index, cuts):
            return None
        edges = cuts * 1000 + self.clock.offset_us
        first, last = self.times(0, int(limits[1])), self.times(int(limits[-2]), num_events)
        t_min = np.concatenate([[first.min()], edges]).astype(np.int64)
        t_max = np.concatenate([edges - 1, [last.max()]]).astype(np.int64)
        return BlockTable(np.diff(limits), t_min, t_max, limits[:-1, None].copy())

    def _is_exact(self, index: NDArray[np.int64], cuts: NDArray[np.int64]) -> bool:
        for ms in cuts[np.unique(np.linspace(0, len(cuts) - 1, NUM_PROBES).astype(np.int64))] if len(cuts) else ():
            before, after = self.times(int(index[ms]) - 1, int(index[ms]) + 1) - self.clock.offset_us
            if not before < ms * 1000 <= after:
                return False
        return True


def block_events(chunk_rows: int | None) -> int:
    """Return how many events to read at a time: whole chunks, so that none is decoded twice."""
    if chunk_rows is None:
        return BLOCK_EVENTS
    if chunk_rows > BLOCK_EVENTS:
        return min(chunk_rows, MAX_BLOCK_EVENTS)
    return BLOCK_EVENTS // chunk_rows * chunk_rows
