"""Numeric arrays of MATLAB's MAT-files, level 5 (MathWorks, "MAT-File Format", chapter 1), by name.

Every declared size is checked against the bytes that are there, and compressed variables unpack to no more than the
file can explain. Read are numeric arrays and scalar structs of them (`TD.x`); other classes are passed over.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.io.recording import RecordingError

HEADER_BYTES = 128
COMPRESSED, MATRIX = 15, 14
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Element types and their dtypes."""
STRUCT_CLASS = 2
NUMERIC_CLASSES = range(6, 16)
COMPLEX_FLAG = 0x0800
UNPACKED_FLOOR, UNPACKED_RATIO = 32 << 20, 200
"""Bytes that the variables of a file may unpack to: of any file, and per byte of it."""


@dataclass(frozen=True, eq=False)
class MatArray:
    """A numeric array: its values in storage order (columns first), and its shape."""

    values: NDArray[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Element:
    kind: int
    data: memoryview
    place: int
    """Byte where the element begins, in the file or in the unpacked variable."""


def is_mat5(start: bytes) -> bool:
    """Return whether a file that starts so is a MAT-file of level 5."""
    if len(start) < HEADER_BYTES or not start.startswith(b"MATLAB 5.0"):
        return False
    return start[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


def read_mat5(path: Path) -> dict[str, MatArray]:
    """Return the numeric arrays of a file by name, those of structs as `struct.field`; raise RecordingError."""
    return _Reader(path).arrays


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        data = np.memmap(path, np.uint8, "r").data if size else memoryview(b"")
        if not is_mat5(bytes(data[:HEADER_BYTES])):
            raise RecordingError(f"{path}: not a MAT-file of level 5 (starts with {bytes(data[:16])!r})")
        self._order = "<" if bytes(data[126:128]) == b"IM" else ">"
        self._allowed = max(UNPACKED_FLOOR, UNPACKED_RATIO * size)
        self.arrays: dict[str, MatArray] = {}
        place = HEADER_BYTES
        while place < size:
            element, place = self._element(data, place, is_padded=False)
            if element.kind == COMPRESSED:
                element, _ = self._element(self._unpack(element), 0, is_padded=False)
            if element.kind == MATRIX:
                self._matrix(element, "", depth=2)

    def _fail(self, place: int, what: str) -> RecordingError:
        return RecordingError(f"{self._path}: byte {place}: {what}")

    def _element(self, data: memoryview, place: int, is_padded: bool = True) -> tuple[_Element, int]:
        """Return the element at a place, and where the next one begins."""
        if place + 8 > len(data):
            raise self._fail(place, "truncated: an element's tag is cut off")
        kind, size = struct.unpack(f"{self._order}II", data[place : place + 8])
        if kind >> 16:
            # The small form: type, size and up to 4 bytes of data in one tag.
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise self._fail(place, f"a small element of {size} bytes, at most 4 fit")
            return _Element(kind, data[place + 4 : place + 4 + size], place), place + 8
        end = place + 8 + size
        if end > len(data):
            raise self._fail(place, f"truncated: an element declares {size} bytes, {len(data) - place - 8} are there")
        return _Element(kind, data[place + 8 : end], place), end + (-size % 8 if is_padded else 0)

    def _unpack(self, element: _Element) -> memoryview:
        unpacker = zlib.decompressobj()
        try:
            tag = unpacker.decompress(element.data, 8)
            if len(tag) < 8:
                raise self._fail(element.place, "a compressed variable without a tag")
            size = struct.unpack(f"{self._order}I", tag[4:])[0]
            self._allowed -= size
            if self._allowed < 0:
                raise self._fail(element.place, f"a compressed variable unpacks to {size} bytes, more than allowed")
            return memoryview(tag + (unpacker.decompress(unpacker.unconsumed_tail, size) if size else b""))
        except zlib.error as error:
            raise self._fail(element.place, f"a compressed variable cannot be unpacked: {error}") from error

    def _matrix(self, element: _Element, prefix: str, depth: int, field: str | None = None) -> None:
        data = element.data
        if not len(data):
            return
        flags, place = self._element(data, 0)
        dims, place = self._element(data, place)
        name, place = self._element(data, place)
        if len(flags.data) < 4 or dims.kind != 5 or len(dims.data) % 4 or len(dims.data) > 64:
            raise self._fail(element.place, "an array without flags or dimensions")
        word = struct.unpack(f"{self._order}I", flags.data[:4])[0]
        shape = tuple(int(side) for side in np.frombuffer(dims.data, f"{self._order}i4"))
        label = field if field is not None else bytes(name.data).decode("latin1")
        if min(shape, default=0) < 0:
            raise self._fail(element.place, f"{prefix}{label} has dimensions {shape}")
        if word & 0xFF == STRUCT_CLASS and shape == (1, 1) and depth:
            self._struct(data, place, f"{prefix}{label}.", depth - 1)
        elif word & 0xFF in NUMERIC_CLASSES and not word & COMPLEX_FLAG:
            self.arrays[prefix + label] = self._numbers(data, place, shape)

    def _struct(self, data: memoryview, place: int, prefix: str, depth: int) -> None:
        length, place = self._element(data, place)
        names, place = self._element(data, place)
        size = int.from_bytes(length.data, "little" if self._order == "<" else "big")
        if not size or len(names.data) % size:
            raise self._fail(length.place, f"field names of {size} bytes each in {len(names.data)} bytes")
        for first in range(0, len(names.data), size):
            field = bytes(names.data[first : first + size]).split(b"\0")[0].decode("latin1")
            element, place = self._element(data, place)
            if element.kind == MATRIX:
                self._matrix(element, prefix, depth, field)

    def _numbers(self, data: memoryview, place: int, shape: tuple[int, ...]) -> MatArray:
        if not all(shape):
            return MatArray(np.empty(0), shape)
        element, _ = self._element(data, place)
        if element.kind not in STORED:
            raise self._fail(element.place, f"numbers of type {element.kind}, allowed: {', '.join(map(str, STORED))}")
        dtype = np.dtype(f"{self._order}{STORED[element.kind]}")
        count = 1
        for side in shape:
            count *= side
        if count * dtype.itemsize != len(element.data):
            raise self._fail(element.place, f"an array of shape {shape} in {len(element.data)} bytes of {dtype}")
        return MatArray(np.frombuffer(element.data, dtype), shape)
