"""Arrays of `.npy` files and `.npz` archives, checked against the file before anything is allocated.

Headers are read first: what one declares must fit the bytes that are there. Arrays of Python objects are refused, as
reading them would run code. Uncompressed arrays are mapped, so they take no memory until they are read.
"""

import ast
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from eventsam.io.recording import RecordingError

MAGIC = b"\x93NUMPY"
MAX_HEADER = 1 << 16
HEADER_FAULTS = (ValueError, SyntaxError, TypeError, LookupError, AttributeError, RecursionError, MemoryError)
"""What a damaged header raises when it is parsed."""
UNPACKED_FLOOR = 32 << 20
"""Bytes that an archive of any size may unpack to."""
UNPACKED_RATIO = 200
"""Bytes that an archive may unpack to per byte of its own; events compress to a tenth at most."""


@dataclass(frozen=True)
class ArrayHeader:
    """What a `.npy` header declares, and its own length in bytes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    num_header_bytes: int

    @property
    def num_bytes(self) -> int:
        """Bytes of the array itself."""
        size = self.dtype.itemsize
        for side in self.shape:
            size *= side
        return size


def open_npy(path: Path) -> NDArray[Any]:
    """Return the array of a `.npy` file, mapped; raise RecordingError."""
    with path.open("rb") as file:
        header = _read_header(file, f"{path}")
    return _mapped(path, 0, path.stat().st_size, header, f"{path}")


class NpzArchive:
    """The arrays of a `.npz` archive, by name, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Read the list of arrays; raise RecordingError for an archive that cannot be read."""
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._members = {
                    info.filename.removesuffix(".npy"): info
                    for info in archive.infolist()
                    if info.filename.endswith(".npy")
                }
        except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError, OverflowError) as error:
            raise RecordingError(f"{path}: the archive's list of arrays cannot be read: {error}") from error
        self._unpacked = 0

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._members)

    def header(self, name: str) -> ArrayHeader:
        """Return what an array declares; raise RecordingError."""
        return self._read(name, with_data=False)[0]

    def array(self, name: str) -> NDArray[Any]:
        """Return an array, mapped where it is not compressed; raise RecordingError."""
        return self._read(name, with_data=True)[1]

    def _read(self, name: str, with_data: bool) -> tuple[ArrayHeader, NDArray[Any]]:
        info, what = self._members[name], f"{self.path}: array {name!r}"
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RecordingError(f"{what} is encrypted or compressed by method {info.compress_type}, expected deflate")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as member:
                header = _read_header(member, what)
                if header.num_bytes != info.file_size - header.num_header_bytes:
                    raise RecordingError(
                        f"{what} declares {header.num_bytes} bytes ({header.dtype} {header.shape}), the archive holds "
                        f"{info.file_size - header.num_header_bytes}"
                    )
                if not with_data:
                    return header, np.empty(0)
                if info.compress_type == zipfile.ZIP_STORED:
                    return header, _mapped(self.path, self._offset(info), info.file_size, header, what)
                self._allow(header.num_bytes, what)
                return header, _shaped(np.frombuffer(_exactly(member, header.num_bytes, what), np.uint8), header)
        except RecordingError:
            raise
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, struct.error, zlib.error, RuntimeError) as error:
            raise RecordingError(f"{what} cannot be read: {error}") from error

    def _offset(self, info: zipfile.ZipInfo) -> int:
        with self.path.open("rb") as file:
            file.seek(info.header_offset)
            start = file.read(30)
        name_size, extra_size = struct.unpack("<HH", start[26:30])
        return info.header_offset + 30 + int(name_size) + int(extra_size)

    def _allow(self, num_bytes: int, what: str) -> None:
        self._unpacked += num_bytes
        limit = max(UNPACKED_FLOOR, UNPACKED_RATIO * self.path.stat().st_size)
        if self._unpacked > limit:
            raise RecordingError(f"{what} would unpack the archive to {self._unpacked} bytes, allowed: {limit}")


def _mapped(path: Path, start: int, num_stored: int, header: ArrayHeader, what: str) -> NDArray[Any]:
    place = start + header.num_header_bytes
    if header.num_bytes > num_stored - header.num_header_bytes or place + header.num_bytes > path.stat().st_size:
        raise RecordingError(
            f"{what} declares {header.num_bytes} bytes ({header.dtype} {header.shape}), the file is truncated at byte "
            f"{path.stat().st_size}"
        )
    if not header.num_bytes:
        return np.empty(header.shape, header.dtype)
    return _shaped(np.memmap(path, np.uint8, "r", place, (header.num_bytes,)), header)


def _shaped(data: NDArray[np.uint8], header: ArrayHeader) -> NDArray[Any]:
    return data.view(header.dtype).reshape(header.shape, order="F" if header.is_fortran else "C")


def _read_header(file: IO[bytes], what: str) -> ArrayHeader:
    start = _exactly(file, 8, what)
    if start[:6] != MAGIC or start[6] not in (1, 2, 3):
        raise RecordingError(f"{what} starts with {start!r}, expected a .npy header of version 1 to 3")
    width = 2 if start[6] == 1 else 4
    size = int.from_bytes(_exactly(file, width, what), "little")
    if size > MAX_HEADER:
        raise RecordingError(f"{what} declares a header of {size} bytes, allowed: {MAX_HEADER}")
    text = _exactly(file, size, what).decode("latin1" if start[6] < 3 else "utf-8", "replace")
    try:
        stated = ast.literal_eval(text.strip())
        dtype = np.lib.format.descr_to_dtype(stated["descr"])
        shape, is_fortran = stated["shape"], stated["fortran_order"]
    except HEADER_FAULTS as error:
        raise RecordingError(f"{what} has the header {text[:100]!r}, which cannot be read: {error!r}") from error
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise RecordingError(f"{what} declares shape {shape!r}")
    if dtype.hasobject:
        raise RecordingError(f"{what} holds pickled Python objects, which are never loaded: that would run their code")
    if not dtype.itemsize:
        raise RecordingError(f"{what} declares dtype {dtype}, which holds nothing")
    return ArrayHeader(dtype, shape, bool(is_fortran), 8 + width + size)


def _exactly(file: IO[bytes], size: int, what: str) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise RecordingError(f"{what} ends after {len(data)} of {size} bytes")
    return data
