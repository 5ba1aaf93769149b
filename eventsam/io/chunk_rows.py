"""Chunk rows: events packed into 32-bit words, one Parquet row per 10 ms, for training shards.

Columns t0, t1 (int64 us: the row's events lie in [t0, t1)), n (int64: number of events), ev (large binary: the words of
`chunk_words`). 4 bytes per event, decoded several times faster than columns; sides up to 2048 pixels. Every row stands
on its own, so rows may be streamed, filtered and regrouped as a table (Ray Data, pyarrow), and a window is the rows
that overlap it, cut. Stretches without events have no rows. Metadata: `height`, `width`, `row_us` (in the schema too),
`num_events`, `sha256_xytp`.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eventsam.events import Events, concatenate
from eventsam.io.block_recording import BlockRecording, BlockSource, BlockTable
from eventsam.io.chunk_table import (
    MAX_ROW_EVENTS,
    NAMES,
    ROW_US,
    allocate,
    pack_pieces,
    pack_rows,
    stated_events,
    to_numbers,
    unpack_batches,
)
from eventsam.io.chunk_words import WORD
from eventsam.io.format import Format
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.parquet_file import CheckedParquet, EventsHash, check_hash, column_names, in_succession
from eventsam.io.parquet_footer import MAGIC
from eventsam.io.recording import OpenOptions, Recording, RecordingError

GROUP_ROWS, GROUP_EVENTS, MAX_GROUP_ROWS = 5, 1 << 16, 1 << 10
"""A row group ends when it has as many rows and as many events, or at the latest with the last number of rows."""


def write_chunk_rows(path: Path, chunks: Iterable[Events], height: int, width: int, row_us: int = ROW_US) -> None:
    """Write events that follow each other in time as chunk rows, a few rows in memory at a time.

    Raises ValueError as `pack_rows` does, and where a chunk belongs to another sensor or starts too early.
    """
    hashed = EventsHash()
    schema = pack_rows(Events.empty(height, width), row_us).schema
    with pq.ParquetWriter(
        path, schema, compression="none", use_dictionary=False, write_statistics=["t0", "t1"], write_page_checksum=True
    ) as writer:
        for group in _row_groups(_whole_rows(chunks, height, width, row_us, hashed), schema):
            writer.write_table(group, row_group_size=MAX_GROUP_ROWS)
        writer.add_key_value_metadata(hashed.attributes())


def open_chunk_rows(path: Path, options: OpenOptions) -> Recording:
    """Open a file of chunk rows as a recording; raises RecordingError naming the file and what is wrong."""
    file = CheckedParquet(path)
    file.check_columns(NAMES)
    size = options.size(path, file.sensor_size())
    return BlockRecording("chunk_rows", path, size, ChunkSource(file, options.index_folder), options)


def verify(path: Path) -> None:
    """Read a file whole and compare it with the hash it was written with; raise RecordingError where they differ."""
    check_hash(open_chunk_rows(path, OpenOptions()), CheckedParquet(path).attributes)


class ChunkSource(BlockSource):
    """Row groups of chunk rows as blocks. Place: row group."""

    def __init__(self, file: CheckedParquet, index_folder: Path | None) -> None:
        """Check the columns' types, and the number of rows and events against the file's size."""
        self._file, self._index_folder = file, index_folder
        kinds = [file.schema.field(name).type for name in NAMES]
        binary = pa.types.is_large_binary(kinds[3]) or pa.types.is_binary(kinds[3])
        if not binary or not all(kind == pa.int64() for kind in kinds[:3]):
            raise RecordingError(f"{file.path}: columns have types {kinds}, expected t0, t1, n int64, ev large_binary")
        size = file.path.stat().st_size
        if file.footer.num_rows > size:
            raise RecordingError(f"{file.path}: {file.footer.num_rows} rows stated in a file of {size} bytes")

    def table(self) -> BlockTable:
        """Return one block per row group, by the rows' own bounds where they follow each other, else measured once."""
        rows = self._file.read_columns(["t0", "t1", "n"])
        try:
            t0, t1, n = (to_numbers(rows.column(name)) for name in ("t0", "t1", "n"))
        except ValueError as error:
            raise RecordingError(f"{self._file.path}: {error}") from error
        groups = range(self._file.num_row_groups)
        ends = np.cumsum([0, *(self._file.num_rows(group) for group in groups)])
        count = np.array([n[a:b].sum() for a, b in pairwise(ends)], np.int64)
        self._check_counts(n, count)
        if (t0 >= t1).any() or (t0[1:] < t1[:-1] - 1).any():
            return BlockTable(**cached_index(self._file.path, "chunk_rows", self._index_folder, self._measure))
        full = np.flatnonzero(count)
        blocks = np.stack([count[full], t0[ends[full]], t1[ends[full + 1] - 1] - 1, full], axis=1)
        if len(blocks):
            # The end of the last row is no event's time, and the recording's last time must be one.
            blocks[-1, 2] = self._span(int(full[-1]), int(count[full[-1]]))[1]
        return _to_table(blocks)

    def _check_counts(self, n: NDArray[np.int64], count: NDArray[np.int64]) -> None:
        room = [group.columns["ev"].uncompressed_bytes // WORD.itemsize for group in self._file.footer.row_groups]
        # The sums of n may wrap around, so each row is held against the file too.
        largest = self._file.path.stat().st_size
        if (n < 0).any() or (n > largest).any() or (count > np.array(room, np.int64)).any():
            raise RecordingError(f"{self._file.path}: its rows state more events than their words can hold")
        stated = self._file.integer("num_events")
        if stated is not None and stated != int(count.sum()):
            raise RecordingError(f"{self._file.path}: {stated} events stated, its rows hold {int(count.sum())}")

    def _measure(self) -> Arrays:
        blocks = []
        for group in range(self._file.num_row_groups):
            count = int(to_numbers(self._file.read(group, ["n"]).column("n")).sum())
            if count:
                blocks.append((count, *self._span(group, count), group))
        return _to_table(np.array(blocks, np.int64).reshape(-1, 4)).to_arrays()

    def _span(self, group: int, count: int) -> tuple[int, int]:
        columns = allocate(count)
        self.read_into(np.array([group]), *columns)
        return int(columns[2].min()), int(columns[2].max())

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the row group."""
        group = int(place[0])
        batches = self._file.read(group, NAMES).to_batches()
        try:
            counts = [stated_events(batch) for batch in batches]
            if sum(counts) != len(t):
                raise ValueError(f"its rows state {sum(counts)} events, its index {len(t)}")
            unpack_batches(batches, counts, (x, y, t, p))
        except ValueError as error:
            raise RecordingError(f"{self._file.path}: row group {group}: {error}") from error


def _to_table(blocks: NDArray[np.int64]) -> BlockTable:
    return BlockTable(blocks[:, 0], blocks[:, 1], blocks[:, 2], blocks[:, 3:])


def _whole_rows(
    chunks: Iterable[Events], height: int, width: int, row_us: int, hashed: EventsHash
) -> Iterator[pa.RecordBatch]:
    """Pack chunk after chunk, keeping back the last row until it is known to be whole."""
    waiting = Events.empty(height, width)
    crowded: list[int] = []
    for chunk in in_succession(chunks, height, width):
        hashed.update(chunk)
        waiting = concatenate([waiting, chunk])
        if not len(waiting):
            continue
        last = int(waiting.t[-1]) // row_us
        end = int(np.searchsorted(waiting.t, last * row_us))
        if len(waiting) - end >= MAX_ROW_EVENTS:
            # Too many events for one row are not kept back: they go in pieces, and so does the rest of that row.
            end = len(waiting) - (len(waiting) - end) % MAX_ROW_EVENTS
            crowded = [*crowded[-1:], last]
        if end:
            yield pack_pieces(waiting.slice(0, end), row_us, crowded)
        waiting = waiting.slice(end, len(waiting))
    if len(waiting):
        yield pack_pieces(waiting, row_us, crowded)


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Gather rows into row groups that are worth a read."""
    waiting: list[pa.RecordBatch] = []
    num_rows = num_events = 0
    for batch in batches:
        first = 0
        for row, count in enumerate(to_numbers(batch.column("n"))):
            num_rows, num_events = num_rows + 1, num_events + int(count)
            if (num_rows >= GROUP_ROWS and num_events >= GROUP_EVENTS) or num_rows >= MAX_GROUP_ROWS:
                yield pa.Table.from_batches([*waiting, batch.slice(first, row + 1 - first)], schema)
                waiting, num_rows, num_events, first = [], 0, 0, row + 1
        if first < batch.num_rows:
            waiting.append(batch.slice(first))
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


def _matches(path: Path, start: bytes) -> bool:
    return start[: len(MAGIC)] == MAGIC and set(NAMES) <= column_names(path)


FORMATS = (
    Format("chunk_rows", "Packed chunk rows (Parquet)", (".chunks",), _matches, open_chunk_rows, write_chunk_rows),
)
