"""FlatBuffers of many small tables, read by columns: one numpy gather per field instead of one call per table.

Layout (little-endian), after the format's internals page: a buffer starts with the u32 offset of its root table and a
four-letter identifier. A table starts with the i32 distance back to its vtable: a list of u16 with its own size, the
table's size, and for every field slot the field's offset in the table, 0 or missing where the field has its default.
Vectors are a u32 length and elements; a vector of tables holds u32 offsets, each relative to where it stands.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FAULTS = (struct.error, IndexError, ValueError, OverflowError)
"""What reading a damaged FlatBuffer raises."""

_SLOTS_FROM = 4
"""Bytes of a vtable before its first slot."""


@dataclass(frozen=True)
class Field:
    """One field of a table: its slot, its dtype, its byte inside a struct, and the value where it is left out."""

    slot: int
    dtype: str
    default: float = 0
    inside: int = 0


class Root:
    """The root table of a buffer of bytes; every method raises one of FAULTS for a damaged one."""

    def __init__(self, data: NDArray[np.uint8], identifier: bytes, size_prefixed: bool = True) -> None:
        """Find the root table and check the identifier and, where the size comes first, that all bytes are there."""
        start = 4 if size_prefixed else 0
        if size_prefixed and _unsigned(data, 0) + 4 > len(data):
            raise ValueError(f"truncated: {_unsigned(data, 0)} bytes should follow, {len(data) - 4} are there")
        found = data[start + 4 : start + 8].tobytes()
        if found != identifier:
            raise ValueError(f"marked {found!r}, expected {identifier!r}")
        self._data = data
        self._table = start + _unsigned(data, start)

    def scalar(self, slot: int, dtype: str, default: int = 0) -> int:
        """Return one whole-number field."""
        (column,) = _columns(self._data, np.array([self._table]), [Field(slot, dtype, default)])
        return int(column[0])

    def vector(self, slot: int, item_bytes: int) -> tuple[int, int]:
        """Return where the elements of a vector start and how many there are, all inside the buffer; (0, 0) without."""
        (place,) = _places(self._data, np.array([self._table]), slot)
        if place < 0:
            return 0, 0
        start = int(place) + _unsigned(self._data, int(place))
        count = _unsigned(self._data, start)
        if start + 4 + count * item_bytes > len(self._data):
            raise ValueError(f"truncated: a list of {count} entries leaves the {len(self._data)} bytes there are")
        return start + 4, count

    def text(self, slot: int) -> str:
        """Return a string field; empty where it is left out."""
        start, count = self.vector(slot, 1)
        return self._data[start : start + count].tobytes().decode("utf-8")

    def tables(self, slot: int, fields: Sequence[Field]) -> tuple[NDArray[Any], ...]:
        """Return fields of a vector of tables, one column (N,) each."""
        start, count = self.vector(slot, 4)
        offsets = self._data[start : start + 4 * count].view("<u4").astype(np.int64)
        return _columns(self._data, start + 4 * np.arange(count) + offsets, fields)


def _columns(data: NDArray[np.uint8], tables: NDArray[np.int64], fields: Sequence[Field]) -> tuple[NDArray[Any], ...]:
    columns = []
    for field in fields:
        places = _places(data, tables, field.slot)
        present = places >= 0
        column = np.full(len(tables), field.default, field.dtype)
        column[present] = _gather(data, places[present] + field.inside, field.dtype)
        columns.append(column)
    return tuple(columns)


def _places(data: NDArray[np.uint8], tables: NDArray[np.int64], slot: int) -> NDArray[np.int64]:
    """Return where a field of each table lies, -1 where it is left out."""
    vtables = tables - _gather(data, tables, "<i4").astype(np.int64)
    sizes = _gather(data, vtables, "<u2").astype(np.int64)
    entry = _SLOTS_FROM + 2 * slot
    offsets = np.zeros(len(tables), np.int64)
    long_enough = sizes >= entry + 2
    offsets[long_enough] = _gather(data, vtables[long_enough] + entry, "<u2")
    return np.where(offsets > 0, tables + offsets, -1)


def _gather(data: NDArray[np.uint8], places: NDArray[np.int64], dtype: str) -> NDArray[Any]:
    size = np.dtype(dtype).itemsize
    if len(places) and (places.min() < 0 or places.max() + size > len(data)):
        raise ValueError("truncated: an offset leads out of the buffer")
    column: NDArray[Any] = data[places[:, None] + np.arange(size)].view(dtype)[:, 0]
    return column


def _unsigned(data: NDArray[np.uint8], place: int) -> int:
    if place < 0 or place + 4 > len(data):
        raise ValueError(f"truncated: {len(data)} bytes, an offset leads to byte {place}")
    return int(struct.unpack_from("<I", data.data, place)[0])
