"""Reads flat Parquet events by row group, whoever wrote them; see `parquet` for the columns."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eventsam.events import COLUMNS
from eventsam.io.block_recording import (
    BlockSource,
    BlockTable,
    Columns,
    from_seconds,
    to_pixels,
    to_polarity,
)
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.parquet_file import CheckedParquet
from eventsam.io.recording import CHUNK_EVENTS, RecordingError

MAX_GROUP_ROWS = 1 << 20
"""Largest row group that is read whole (other writers' usual size); larger ones are read in pieces."""


class ParquetSource(BlockSource):
    """Row groups as blocks; those too large to read whole in pieces. Place: row group, first row in it."""

    def __init__(self, file: CheckedParquet, index_folder: Path | None) -> None:
        """Check the columns' types."""
        self._file = file
        self._index_folder = index_folder
        self._offset = file.integer("t_offset_us") or 0
        self._running = threading.local()
        for name in COLUMNS:
            kind = file.schema.field(name).type
            flag = name == "p" and pa.types.is_boolean(kind)
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or flag):
                raise RecordingError(
                    f"{file.path}: column {name} has type {kind}, allowed: integers, floats (t in seconds), bool for p"
                )

    def table(self) -> BlockTable:
        """Return one block per row group where the statistics state their times, else measure them once."""
        blocks = []
        dtype = np.dtype(self._file.schema.field("t").type.to_pandas_dtype())
        for number, group in enumerate(self._file.footer.row_groups):
            span = group.columns["t"].span(dtype)
            if group.num_rows > MAX_GROUP_ROWS or (span is None and group.num_rows):
                index = cached_index(self._file.path, "parquet", self._index_folder, self._measure)
                return BlockTable(**index)
            if span is not None:
                low, high = self._times(span, f"statistics of row group {number}")
                blocks.append((group.num_rows, int(low), int(high), number, 0))
        return _to_table(blocks)

    def _measure(self) -> Arrays:
        blocks = []
        for group in range(self._file.num_row_groups):
            first = 0
            step = MAX_GROUP_ROWS if self._file.num_rows(group) <= MAX_GROUP_ROWS else CHUNK_EVENTS
            for batch in self._file.batches(group, ["t"], step):
                t = self._measured_times(batch, group)
                if len(t):
                    blocks.append((len(t), int(t.min()), int(t.max()), group, first))
                first += len(t)
        return _to_table(blocks).to_arrays()

    def _measured_times(self, batch: pa.RecordBatch, group: int) -> NDArray[np.int64]:
        try:
            return self._times(_to_numpy(batch.column(0)), f"row group {group}")
        except ValueError as error:
            raise RecordingError(f"{self._file.path}: row group {group}: {error}") from error

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the block."""
        group, first = int(place[0]), int(place[1])
        whole = self._file.num_rows(group) <= MAX_GROUP_ROWS
        rows = self._file.read([group], list(COLUMNS)) if whole else self._piece(group, first, len(t))
        if rows.num_rows != len(t):
            raise RecordingError(f"{self._file.path}: row group {group} holds {rows.num_rows} rows, not {len(t)}")
        x[:], y[:], t[:], p[:] = self._columns(rows, f"row group {group}")

    def _columns(self, rows: pa.Table | pa.RecordBatch, place: str) -> Columns:
        try:
            x, y, t, p = (_to_numpy(rows.column(name)) for name in COLUMNS)
            return to_pixels(x), to_pixels(y), self._times(t, place), _polarity(p)
        except ValueError as error:
            raise RecordingError(f"{self._file.path}: {place}: {error}") from error

    def _piece(self, group: int, first: int, count: int) -> pa.RecordBatch:
        # Pieces can only be reached one after the other, so a thread that reads on goes on where it stopped.
        if getattr(self._running, "next", None) != (group, first):
            self._running.batches = self._file.batches(group, list(COLUMNS), CHUNK_EVENTS)
            for _ in range(first // CHUNK_EVENTS):
                next(self._running.batches, None)
        batch = next(self._running.batches, None)
        self._running.next = (group, first + count)
        if batch is None:
            raise RecordingError(f"{self._file.path}: row group {group} ends before row {first + count}")
        return batch

    def _times(self, column: NDArray[Any], place: str) -> NDArray[np.int64]:
        try:
            t = from_seconds(column.astype(np.float64)) if column.dtype.kind == "f" else _whole_times(column)
            if self._offset:
                _check_offset(t, self._offset)
                t = t + self._offset
        except ValueError as error:
            raise RecordingError(f"{self._file.path}: {place}: {error}") from error
        return t


def _to_table(blocks: list[tuple[int, int, int, int, int]]) -> BlockTable:
    """Return blocks of count, t_min, t_max, row group, first row."""
    rows = np.array(blocks, np.int64).reshape(-1, 5)
    return BlockTable(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3:])


def _polarity(column: NDArray[Any]) -> NDArray[np.uint8]:
    # The project's own files hold 0 and 1: their largest value costs a tenth of a look at every value.
    return column if column.dtype == np.uint8 and column.size and column.max() <= 1 else to_polarity(column)


def _whole_times(column: NDArray[Any]) -> NDArray[np.int64]:
    if column.dtype == np.uint64 and column.size and column.max() > np.iinfo(np.int64).max:
        raise ValueError(f"t reaches {column.max()} us, more than int64 holds")
    return column.astype(np.int64, copy=False)


def _check_offset(t: NDArray[np.int64], offset: int) -> None:
    limits = np.iinfo(np.int64)
    if t.size and not (limits.min <= int(t.min()) + offset and int(t.max()) + offset <= limits.max):
        raise ValueError(f"t with t_offset_us {offset} leaves int64")


def _to_numpy(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    if column.null_count:
        raise ValueError(f"{column.null_count} values are null")
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values
