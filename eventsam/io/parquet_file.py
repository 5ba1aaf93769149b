"""Parquet files on disk: a footer checked before it is believed, row groups for any thread, hashes of the events."""

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eventsam.events import Events, concatenate
from eventsam.io.info import xytp
from eventsam.io.parquet_footer import MAGIC, read_footer
from eventsam.io.recording import Recording, RecordingError

MAX_ROWS_PER_BYTE = 4096
"""Rows per byte of the file that are believed: constant columns pack well, but a table of blocks must stay small."""

MAX_MAPPED = 1 << 28
"""Bytes that a thread reads through one memory map."""

FAULTS = (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError, OverflowError, MemoryError)
"""What pyarrow raises for a damaged file."""


class CheckedParquet:
    """A Parquet file whose named columns lie within the file; raises RecordingError where they do not.

    Every thread reads through a reader of its own over one memory map and one parsed footer: pyarrow's readers may not
    be shared.
    """

    def __init__(self, path: Path) -> None:
        """Read the footer."""
        self.path = path
        self.footer = read_footer(path)
        # Neither a string nor a list of the footer can be longer than the footer.
        length = self.footer.length
        self._limits = {"thrift_string_size_limit": length, "thrift_container_size_limit": length}
        self._readers = threading.local()
        self._metadata: pq.FileMetaData = None
        try:
            self._metadata = self.reader.metadata
            self.schema: pa.Schema = self.reader.schema_arrow
            stored = dict(self._metadata.metadata or {})
            self.attributes = {key.decode(): value.decode() for key, value in stored.items() if key != b"ARROW:schema"}
        except FAULTS as error:
            raise RecordingError(f"{path}: the footer at byte {self.footer.start} cannot be read: {error}") from error
        if not 0 <= self.footer.num_rows <= MAX_ROWS_PER_BYTE * path.stat().st_size:
            raise RecordingError(f"{path}: the footer states {self.footer.num_rows} rows, more than the file can hold")

    @property
    def reader(self) -> pq.ParquetFile:
        """This thread's reader."""
        found = getattr(self._readers, "file", None)
        if found is None:
            found = pq.ParquetFile(
                self.path, metadata=self._metadata, memory_map=True, pre_buffer=False, **self._limits
            )
            self._readers.file = found
        return found

    @property
    def num_row_groups(self) -> int:
        """Number of row groups."""
        return len(self.footer.row_groups)

    def num_rows(self, group: int) -> int:
        """Return the rows of a row group."""
        return self.footer.row_groups[group].num_rows

    def check_columns(self, names: Sequence[str]) -> None:
        """Raise RecordingError where a column is missing, nested, or leaves the file in some row group."""
        if any(self.schema.names.count(name) != 1 for name in names):
            found = ", ".join(self.schema.names)
            raise RecordingError(f"{self.path}: expected columns {', '.join(names)}; found {found}")
        for number, group in enumerate(self.footer.row_groups):
            for name in names:
                chunk = group.columns.get(name)
                if chunk is None or chunk.num_values != group.num_rows:
                    raise RecordingError(f"{self.path}: column {name} of row group {number} is no flat column")
                if not len(MAGIC) <= chunk.start <= chunk.end <= self.footer.start:
                    raise RecordingError(
                        f"{self.path}: column {name} of row group {number} should lie at bytes {chunk.start} to "
                        f"{chunk.end}, the data ends at byte {self.footer.start}"
                    )
        total = sum(group.num_rows for group in self.footer.row_groups)
        if total != self.footer.num_rows:
            raise RecordingError(f"{self.path}: {self.footer.num_rows} rows stated, its row groups hold {total}")

    def _account(self, groups: Sequence[int], names: Sequence[str]) -> None:
        """Let go of the memory map now and then: what was read of a map stays counted as this process's memory."""
        chunks = (self.footer.row_groups[group].columns[name] for group in groups for name in names)
        mapped = getattr(self._readers, "mapped", 0) + sum(chunk.end - chunk.start for chunk in chunks)
        if mapped > MAX_MAPPED:
            self._readers.file, mapped = None, 0
        self._readers.mapped = mapped

    def read(self, groups: Sequence[int], names: Sequence[str]) -> pa.Table:
        """Read columns of row groups, on this thread alone; raise RecordingError for damaged pages."""
        self._account(groups, names)
        try:
            table = self.reader.read_row_groups(groups, columns=list(names), use_threads=False)
        except FAULTS as error:
            raise RecordingError(f"{self.path}: row groups {list(groups)}: {error}") from error
        expected = sum(self.num_rows(group) for group in groups)
        if table.num_rows != expected:
            raise RecordingError(
                f"{self.path}: row groups {list(groups)} hold {table.num_rows} rows, the footer says {expected}"
            )
        return table

    def read_columns(self, names: Sequence[str]) -> pa.Table:
        """Read small columns of the whole file; raise RecordingError for damaged pages."""
        try:
            table = self.reader.read(columns=list(names), use_threads=False)
        except FAULTS as error:
            raise RecordingError(f"{self.path}: {error}") from error
        if table.num_rows != self.footer.num_rows:
            raise RecordingError(f"{self.path}: {table.num_rows} rows, the footer says {self.footer.num_rows}")
        return table

    def batches(self, group: int, names: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Read columns of one row group some rows at a time, in memory that does not grow with the row group."""
        try:
            yield from self.reader.iter_batches(batch_rows, row_groups=[group], columns=list(names), use_threads=False)
        except FAULTS as error:
            raise RecordingError(f"{self.path}: row group {group}: {error}") from error

    def integer(self, key: str) -> int | None:
        """Return a whole number of the file's metadata, None where there is none; raise RecordingError for another."""
        text = self.attributes.get(key)
        try:
            return None if text is None else int(text)
        except ValueError as error:
            raise RecordingError(f"{self.path}: the metadata state {key}={text!r}, expected a whole number") from error

    def sensor_size(self) -> tuple[int, int] | None:
        """Return (height, width) where the metadata state both."""
        height, width = self.integer("height"), self.integer("width")
        return None if height is None or width is None else (height, width)


def column_names(path: Path) -> frozenset[str]:
    """Return the names of a Parquet file's columns; none where the footer cannot be read."""
    try:
        # Only the schema is looked at, so that detecting a long recording does not parse its footer twice more.
        limits = dict.fromkeys(("thrift_string_size_limit", "thrift_container_size_limit"), path.stat().st_size)
        return frozenset(pq.ParquetFile(path, memory_map=True, **limits).schema_arrow.names)
    except FAULTS:
        return frozenset()


class EventsHash:
    """The number of events and the hash of their (x, y, t, p), gathered chunk by chunk (see `recording_info`)."""

    def __init__(self) -> None:
        """Begin with no events."""
        self._digest = hashlib.sha256()
        self.num_events = 0

    def update(self, events: Events) -> None:
        """Add the events that follow."""
        self._digest.update(xytp(events))
        self.num_events += len(events)

    def attributes(self) -> dict[str, str]:
        """Return both as the metadata of a file."""
        return {"num_events": str(self.num_events), "sha256_xytp": self._digest.hexdigest()}


def check_hash(recording: Recording, attributes: Mapping[str, str]) -> None:
    """Read a recording whole and compare it with the count and hash its file states; raise RecordingError."""
    found = EventsHash()
    for chunk in recording.chunks():
        found.update(chunk)
    for key, value in found.attributes().items():
        if key not in attributes:
            raise RecordingError(f"{recording.path}: the file states no {key}, so there is nothing to verify against")
        if attributes[key] != value:
            raise RecordingError(f"{recording.path}: the file states {key} {attributes[key]}, its events have {value}")


def in_succession(chunks: Iterable[Events], height: int, width: int) -> Iterator[Events]:
    """Pass on the chunks that hold events; raise ValueError for another sensor, or a start before the last end."""
    before = Events.empty(height, width)
    for chunk in chunks:
        concatenate([before, chunk.slice(0, 1)])
        if len(chunk):
            before = chunk.slice(len(chunk) - 1, len(chunk))
            yield chunk
