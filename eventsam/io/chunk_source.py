"""Reads files of chunk rows: only the rows that a window overlaps are unpacked."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eventsam.io.block_recording import BlockSource, BlockTable
from eventsam.io.chunk_table import NAMES, allocate, stated_events, to_numbers, unpack_batches
from eventsam.io.chunk_words import WORD
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.parquet_file import CheckedParquet
from eventsam.io.recording import RecordingError

RUN_EVENTS = 1 << 14
"""Rows are looked up in runs of so many events: quiet recordings have many rows of few."""

Run = tuple[int, int, int]
"""A row group, and rows [first, end) in it."""


class ChunkSource(BlockSource):
    """Runs of chunk rows within a row group as blocks. Place: row group, first row, row behind the last."""

    def __init__(self, file: CheckedParquet, index_folder: Path | None) -> None:
        """Check the columns' types, and the number of rows against the file's size."""
        self._file, self._index_folder = file, index_folder
        self._held = threading.local()
        kinds = [file.schema.field(name).type for name in NAMES]
        binary = pa.types.is_large_binary(kinds[3]) or pa.types.is_binary(kinds[3])
        if not binary or not all(kind == pa.int64() for kind in kinds[:3]):
            raise RecordingError(f"{file.path}: columns have types {kinds}, expected t0, t1, n int64, ev large_binary")
        size = file.path.stat().st_size
        if file.footer.num_rows > size:
            raise RecordingError(f"{file.path}: {file.footer.num_rows} rows stated in a file of {size} bytes")

    def table(self) -> BlockTable:
        """Return one block per run, by the rows' own bounds where they follow each other, else measured once."""
        rows = self._file.read_columns(["t0", "t1", "n"])
        try:
            t0, t1, n = (to_numbers(rows.column(name)) for name in ("t0", "t1", "n"))
        except ValueError as error:
            raise RecordingError(f"{self._file.path}: {error}") from error
        self._check_counts(n)
        runs = [(run, row, count) for run, row, count in self._runs(n) if count]
        if (t0 >= t1).any() or (t0[1:] < t1[:-1] - 1).any():
            found = [(run, count) for run, _, count in runs]
            index = cached_index(self._file.path, "chunk_rows", self._index_folder, lambda: self._measure(found))
            return BlockTable(**index)
        blocks = [(count, t0[row], t1[row + run[2] - run[1] - 1] - 1, *run) for run, row, count in runs]
        table = _to_table(blocks)
        if runs:
            # The end of the last row is no event's time, and the recording's last time must be one.
            table.t_max[-1] = self._span(runs[-1][0], runs[-1][2])[1]
        return table

    def _check_counts(self, n: NDArray[np.int64]) -> None:
        # Their sums may wrap around, so each is held against the file first.
        if (
            (n < 0).any()
            or (n > self._file.path.stat().st_size).any()
            or int(n.sum()) * WORD.itemsize
            > sum(group.columns["ev"].uncompressed_bytes for group in self._file.footer.row_groups)
        ):
            raise RecordingError(f"{self._file.path}: its rows state more events than their words can hold")
        stated = self._file.integer("num_events")
        if stated is not None and stated != int(n.sum()):
            raise RecordingError(f"{self._file.path}: {stated} events stated, its rows hold {int(n.sum())}")

    def _runs(self, n: NDArray[np.int64]) -> Iterator[tuple[Run, int, int]]:
        """Return runs, each with its first row's number in the file and its number of events."""
        start = 0
        for group in range(self._file.num_row_groups):
            rows = self._file.num_rows(group)
            first = count = 0
            for row in range(rows):
                count += int(n[start + row])
                if count >= RUN_EVENTS or row + 1 == rows:
                    yield (group, first, row + 1), start + first, count
                    first, count = row + 1, 0
            start += rows

    def _measure(self, runs: list[tuple[Run, int]]) -> Arrays:
        spans = [self._span(run, count) for run, count in runs]
        return _to_table([(count, *span, *run) for (run, count), span in zip(runs, spans, strict=True)]).to_arrays()

    def _span(self, run: Run, count: int) -> tuple[int, int]:
        x, y, t, p = allocate(count)
        self.read_into(np.array(run), x, y, t, p)
        return int(t.min()), int(t.max())

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Unpack the run."""
        group, first, end = (int(value) for value in place)
        batches = self._read_group(group).slice(first, end - first).to_batches()
        try:
            counts = [stated_events(batch) for batch in batches]
            if sum(counts) != len(t):
                raise ValueError(f"its rows {first} to {end - 1} state {sum(counts)} events, the index {len(t)}")
            unpack_batches(batches, counts, (x, y, t, p))
        except ValueError as error:
            raise RecordingError(f"{self._file.path}: row group {group}: {error}") from error

    def _read_group(self, group: int) -> pa.Table:
        # Runs are read one after the other: a thread keeps the row group that holds the next one.
        if getattr(self._held, "group", None) != group:
            self._held.table, self._held.group = self._file.read([group], NAMES), group
        table: pa.Table = self._held.table
        return table


def _to_table(blocks: Sequence[tuple[int, ...]]) -> BlockTable:
    """Return blocks of count, t_min, t_max, place."""
    rows = np.array(blocks, np.int64).reshape(-1, 6)
    return BlockTable(rows[:, 0], rows[:, 1], rows[:, 2].copy(), rows[:, 3:])
