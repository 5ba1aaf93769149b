"""Events as flat Parquet: one row per event, the project's own format, sliced by row-group statistics.

Columns x, y uint16, t int64 us (sorted), p uint8, none nullable; x, y, p dictionary-encoded (which packs them into as
many bits as the sensor needs), t DELTA_BINARY_PACKED, no codec, about 2.7 bytes per event. A row group holds 131072
events and states its smallest and largest time. The file's metadata state `height`, `width`, `t_offset_us` (to be added
to t; 0 in the files written here), `polarity`, `num_events`, `sha256_xytp` (see `recording_info`) and, where known,
`sensor` and `source_format`. A recording is the file, or a folder with `events.parquet`.

Parquet files of others open too when they have these columns, whatever their integer type, nullable or not; p may be
bool or -1/+1, and t a float in seconds.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eventsam.events import COLUMNS, Events, concatenate
from eventsam.io.block_recording import (
    BlockRecording,
    BlockSource,
    BlockTable,
    from_seconds,
    to_pixels,
    to_polarity,
)
from eventsam.io.format import Format
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.parquet_file import CheckedParquet, EventsHash, check_hash, column_names, in_succession
from eventsam.io.parquet_footer import MAGIC
from eventsam.io.recording import CHUNK_EVENTS, OpenOptions, Recording, RecordingError

FILE_NAME = "events.parquet"
"""The events' file inside a recording's folder."""
VERSION_KEY = "eventsam_events"
"""Key of the metadata that marks the layout above, with its version."""

MAX_GROUP_ROWS = 1 << 20
"""Largest row group that is read whole (other writers' usual size); larger ones are read in pieces."""

SCHEMA = pa.schema([pa.field(name, pa.from_numpy_dtype(dtype), nullable=False) for name, dtype in COLUMNS.items()])

Codec = Literal["none", "zstd"]


@dataclass(frozen=True)
class ParquetLayout:
    """How to write: events per row group (65536 for smaller slices), codec (`zstd` for archives), and what is known.

    `sensor` and `source_format` are kept in the metadata.
    """

    row_group_events: int = 131072
    codec: Codec = "none"
    sensor: str = ""
    source_format: str = ""

    def __post_init__(self) -> None:
        """Refuse row groups that are not read whole, and unknown codecs."""
        if not 1 <= self.row_group_events <= MAX_GROUP_ROWS:
            raise ValueError(f"row_group_events is {self.row_group_events}, allowed: 1 to {MAX_GROUP_ROWS}")
        if self.codec not in get_args(Codec):
            raise ValueError(f"codec is {self.codec!r}, allowed: {', '.join(get_args(Codec))}")


def open_parquet(path: Path, options: OpenOptions) -> Recording:
    """Open a file or a folder with `events.parquet`; raises RecordingError naming the file and what is wrong."""
    file = CheckedParquet(path / FILE_NAME if path.is_dir() else path)
    file.check_columns(list(COLUMNS))
    stated = file.integer("num_events")
    if VERSION_KEY in file.attributes and stated != file.footer.num_rows:
        raise RecordingError(f"{file.path}: {stated} events stated, its row groups hold {file.footer.num_rows}")
    size = options.size(file.path, file.sensor_size())
    return BlockRecording("parquet", path, size, ParquetSource(file, options.index_folder), options)


def verify(path: Path) -> None:
    """Read a recording whole and compare it with the hash it was written with; raise RecordingError where they differ.

    A file without a hash (not written here) raises too.
    """
    recording = open_parquet(path, OpenOptions())
    check_hash(recording, CheckedParquet(path / FILE_NAME if path.is_dir() else path).attributes)


def write_parquet(
    path: Path, chunks: Iterable[Events], height: int, width: int, layout: ParquetLayout | None = None
) -> None:
    """Write events that follow each other in time, one row group in memory at a time.

    Raises ValueError where a chunk belongs to another sensor or starts before the one before it ends.
    """
    layout = layout if layout is not None else ParquetLayout()
    stated = {VERSION_KEY: "1", "height": height, "width": width, "t_offset_us": 0, "polarity": "1 brighter, 0 darker"}
    known = {"sensor": layout.sensor, "source_format": layout.source_format}
    attributes = {key: str(value) for key, value in (stated | known).items() if value != ""}
    hashed = EventsHash()
    options: dict[str, Any] = {
        "compression": layout.codec,
        "use_dictionary": ["x", "y", "p"],
        "column_encoding": {"t": "DELTA_BINARY_PACKED"},
        "write_statistics": True,
        "write_page_checksum": True,
    }
    with pq.ParquetWriter(path, SCHEMA, **options) as writer:
        for events in _regrouped(chunks, height, width, layout.row_group_events):
            hashed.update(events)
            columns = [pa.array(getattr(events, name)) for name in COLUMNS]
            writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), row_group_size=layout.row_group_events)
        writer.add_key_value_metadata(attributes | hashed.attributes())


def _regrouped(chunks: Iterable[Events], height: int, width: int, size: int) -> Iterator[Events]:
    """Cut and join chunks into pieces of exactly `size` events, but for the last."""
    waiting = Events.empty(height, width)
    for chunk in in_succession(chunks, height, width):
        waiting = concatenate([waiting, chunk])
        whole = len(waiting) - len(waiting) % size
        for first in range(0, whole, size):
            yield waiting.slice(first, first + size)
        waiting = waiting.slice(whole, len(waiting))
    if len(waiting):
        yield waiting


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
                t = self._times(_to_numpy(batch.column(0), self._file.path, group), f"row group {group}")
                if len(t):
                    blocks.append((len(t), int(t.min()), int(t.max()), group, first))
                first += len(t)
        return _to_table(blocks).to_arrays()

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the block."""
        group, first = int(place[0]), int(place[1])
        rows = self._rows(group, first, len(t))
        if rows.num_rows != len(t):
            raise RecordingError(f"{self._file.path}: row group {group} holds {rows.num_rows} rows, not {len(t)}")
        x_column, y_column, t_column, p_column = (
            _to_numpy(rows.column(name), self._file.path, group) for name in COLUMNS
        )
        try:
            x[:], y[:], p[:] = to_pixels(x_column), to_pixels(y_column), _polarity(p_column)
        except ValueError as error:
            raise RecordingError(f"{self._file.path}: row group {group}: {error}") from error
        t[:] = self._times(t_column, f"row group {group}")

    def _rows(self, group: int, first: int, count: int) -> pa.Table | pa.RecordBatch:
        if self._file.num_rows(group) <= MAX_GROUP_ROWS:
            return self._file.read(group, list(COLUMNS))
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


def _to_numpy(column: pa.Array | pa.ChunkedArray, path: Path, group: int) -> NDArray[Any]:
    if column.null_count:
        raise RecordingError(f"{path}: row group {group}: {column.null_count} values are null")
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def _matches(path: Path, start: bytes) -> bool:
    if path.is_dir():
        return (path / FILE_NAME).is_file()
    return start[: len(MAGIC)] == MAGIC and "ev" not in column_names(path)


FORMATS = (Format("parquet", "Parquet events", (".parquet",), _matches, open_parquet, write_parquet),)
