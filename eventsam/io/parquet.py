"""Events as flat Parquet: one row per event, the project's own format, sliced by row-group statistics.

Columns x, y uint16, t int64 us (sorted), p uint8, none nullable; x, y, p dictionary-encoded (which packs them into as
many bits as the sensor needs), t DELTA_BINARY_PACKED, no codec, about 2.7 bytes per event. A row group holds 131072
events and states its smallest and largest time. The file's metadata state `height`, `width`, `t_offset_us` (to be added
to t; 0 in the files written here), `polarity`, `num_events`, `sha256_xytp` (see `recording_info`) and, where known,
`sensor` and `source_format`. A recording is the file, or a folder with `events.parquet`.

Parquet files of others open too when they have these columns, whatever their integer type, nullable or not; p may be
bool or -1/+1, and t a float in seconds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from eventsam.events import COLUMNS, Events, concatenate
from eventsam.io.block_recording import BlockRecording
from eventsam.io.format import Format
from eventsam.io.parquet_file import CheckedParquet, EventsHash, check_hash, column_names, in_succession
from eventsam.io.parquet_footer import MAGIC
from eventsam.io.parquet_source import MAX_GROUP_ROWS, ParquetSource
from eventsam.io.recording import OpenOptions, Recording, RecordingError

FILE_NAME = "events.parquet"
"""The events' file inside a recording's folder."""
VERSION_KEY = "eventsam_events"
"""Key of the metadata that marks the layout above, with its version."""

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


def _matches(path: Path, start: bytes) -> bool:
    if path.is_dir():
        return (path / FILE_NAME).is_file()
    return start[: len(MAGIC)] == MAGIC and "ev" not in column_names(path)


FORMATS = (Format("parquet", "Parquet events", (".parquet",), _matches, open_parquet, write_parquet),)
