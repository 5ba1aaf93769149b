"""Chunk rows: events packed into 32-bit words, one Parquet row per 10 ms, for training shards.

Columns t0, t1 (int64 us: the row's events lie in [t0, t1)), n (int64: number of events), ev (large binary: the words of
`chunk_words`). 4 bytes per event, decoded several times faster than columns; sides up to 2048 pixels. Every row stands
on its own, so rows may be streamed, filtered and regrouped as a table (Ray Data, pyarrow), and a window is the rows
that overlap it, cut. Stretches without events have no rows. Metadata: `height`, `width`, `row_us` (in the schema too),
`num_events`, `sha256_xytp`.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eventsam.events import Events, concatenate
from eventsam.io.block_recording import BlockRecording
from eventsam.io.chunk_source import ChunkSource
from eventsam.io.chunk_table import (
    MAX_ROW_EVENTS,
    NAMES,
    ROW_US,
    pack_pieces,
    pack_rows,
    to_numbers,
)
from eventsam.io.format import Format
from eventsam.io.parquet_file import CheckedParquet, EventsHash, check_hash, column_names, in_succession
from eventsam.io.parquet_footer import MAGIC
from eventsam.io.recording import OpenOptions, Recording

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
