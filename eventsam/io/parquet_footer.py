"""The footer of a Parquet file, read without pyarrow: where each column of each row group lies, and its statistics.

pyarrow reads footers too, but asked for a damaged row group's columns or statistics it ends the process (25.0, an
exception that nobody catches), so what decides whether a file may be read is decided here.

The footer is Thrift's compact protocol: numbers are varints, signed ones zigzag; a struct is fields, each a byte of
(id - previous id) << 4 | type, ended by a zero byte; a list is a byte of length << 4 | type (15: the length follows).
Field numbers are those of parquet.thrift.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.io.recording import RecordingError

MAGIC = b"PAR1"
MAX_DEPTH = 16
"""Structs within structs; Parquet needs seven."""

STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12


@dataclass(frozen=True)
class ColumnChunk:
    """One column of one row group: its bytes [start, end) in the file, and its smallest and largest value as stored."""

    num_values: int
    start: int
    end: int
    uncompressed_bytes: int
    low: bytes | None
    high: bytes | None

    def span(self, dtype: np.dtype[Any]) -> NDArray[Any] | None:
        """Return (smallest, largest) of a number column of that type, None where the file does not state them."""
        stored = dtype if dtype.itemsize >= 4 else np.dtype(f"{dtype.kind}4")
        if self.low is None or self.high is None or not len(self.low) == len(self.high) == stored.itemsize:
            return None
        found: NDArray[Any] = np.frombuffer(self.low + self.high, stored.newbyteorder("<")).astype(stored)
        return found if np.isfinite(found).all() and found[0] <= found[1] else None


@dataclass(frozen=True)
class RowGroup:
    """Rows, and the columns by their path."""

    num_rows: int
    columns: dict[str, ColumnChunk]


@dataclass(frozen=True)
class Footer:
    """What a footer states; `start` is the byte where it begins, `length` its size."""

    num_rows: int
    row_groups: list[RowGroup]
    start: int
    length: int


def read_footer(path: Path) -> Footer:
    """Read a file's footer; raise RecordingError for a truncated or damaged one, naming the byte."""
    start, data = _find_footer(path)
    reader = _Compact(data)
    try:
        fields = reader.struct(0)
        groups = [_row_group(group) for group in fields[4]]
        num_rows = fields[3]
        if not isinstance(num_rows, int):
            raise TypeError("the number of rows is no number")
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        at = start + reader.position
        raise RecordingError(f"{path}: the footer at byte {start} is damaged, seen at byte {at}: {error!r}") from error
    return Footer(num_rows, groups, start, len(data))


def _row_group(fields: dict[int, Any]) -> RowGroup:
    columns = {}
    for chunk in fields[1]:
        metadata = chunk[3]
        name = b".".join(metadata[3]).decode()
        if name in columns:
            raise ValueError(f"column {name} twice in a row group")
        columns[name] = _column_chunk(metadata)
    return RowGroup(_whole(fields[3]), columns)


def _column_chunk(metadata: dict[int, Any]) -> ColumnChunk:
    start, dictionary = _whole(metadata[9]), _whole(metadata.get(11, 0))
    start = min(start, dictionary) if dictionary else start
    statistics = metadata.get(12, {})
    low, high = statistics.get(6), statistics.get(5)
    stated = isinstance(low, bytes) and isinstance(high, bytes)
    return ColumnChunk(
        _whole(metadata[5]), start, start + _whole(metadata[7]), _whole(metadata[6]),
        low if stated else None, high if stated else None,
    )  # fmt: skip


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value


def _find_footer(path: Path) -> tuple[int, bytes]:
    """Return where the footer starts, and the footer."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
        file.seek(max(0, size - 8))
        end = file.read(8)
        length = int.from_bytes(end[:4], "little")
        if size < 12 or start != MAGIC or end[4:] != MAGIC:
            raise RecordingError(f"{path}: truncated at byte {size}, or not Parquet: {MAGIC!r} must stand at both ends")
        if not 0 < length <= size - 12:
            raise RecordingError(f"{path}: the footer should have {length} bytes, the file has {size}: truncated")
        file.seek(size - 8 - length)
        return size - 8 - length, file.read(length)


class _Compact:
    """Thrift's compact protocol: structs become dicts by field number, everything else what it is in Python."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} structs within each other")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._signed()
            fields[number] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if BYTE < kind < DOUBLE:
            return self._signed()
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (LIST, SET):
            return self._list(depth)
        if kind in (TRUE, FALSE, BYTE):
            return self._byte()
        if kind == DOUBLE:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind == MAP:
            raise ValueError("a map, which no footer holds")
        raise ValueError(f"unknown type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count, kind = head >> 4, head & 15
        count = self._varint() if count == 15 else count
        # Whatever it is, an element takes a byte.
        if count > len(self.data) - self.position:
            raise ValueError(f"a list of {count} elements")
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} lists within each other")
        return [self._value(kind, depth + 1) for _ in range(count)]

    def _byte(self) -> int:
        value = self.data[self.position]
        self.position += 1
        return value

    def _bytes(self, count: int) -> bytes:
        part = self.data[self.position : self.position + count]
        if len(part) != count:
            raise IndexError(f"{count} bytes, {len(part)} are left")
        self.position += count
        return part

    def _varint(self) -> int:
        data, position = self.data, self.position
        value = shift = 0
        while (byte := data[position]) >= 128:
            value |= (byte & 127) << shift
            shift += 7
            position += 1
            if shift > 63:
                raise ValueError("a number of more than 64 bits")
        self.position = position + 1
        return value | byte << shift

    def _signed(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
