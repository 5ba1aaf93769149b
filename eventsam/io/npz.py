"""Recordings as numpy files: `.npz` archives of columns, and `.npy` arrays.

- `.npz`: arrays named x, y, t, p (or as `named_columns` lists), and `height` and `width`; or one array as below.
- `.npy`: a structured array with such fields, or an (N, 4) array of x, y, t, p or of t, x, y, p, told apart by which
  columns can be pixels and which one is in time order; where both could be, the file is refused.

Integer times are microseconds, floats are seconds, unless the name says otherwise (`t_us`, `t_ns`). A `.npy` file has
no place for the sensor size: it comes from the options or a sidecar.
"""

import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.block_recording import BlockRecording
from eventsam.io.column_blocks import BLOCK_EVENTS, ArrayColumns, ColumnSource, RawColumns, check_columns
from eventsam.io.format import Format
from eventsam.io.named_columns import SIZE_NAMES, Clock, match_columns
from eventsam.io.npy_arrays import MAGIC, NpzArchive, open_npy
from eventsam.io.recording import OpenOptions, RecordingError
from eventsam.io.sidecar import sidecar_size
from eventsam.io.spooled_columns import STORED, SpooledColumns

ORDERS = ((0, 1, 2, 3), (1, 2, 0, 3))
"""Where x, y, t, p lie in an (N, 4) array."""


def open_npz(path: Path, options: OpenOptions) -> BlockRecording:
    """Open an archive; raise RecordingError where it holds no events, or is damaged."""
    archive = NpzArchive(path)
    names = match_columns(archive.names)
    if names is None:
        return _recording("npz", path, *_unpack(path, _only_table(archive)), _stated_size(archive), options)
    columns = {name: archive.array(name) for name in (names.x, names.y, names.t, names.p)}
    flat = [_vector(path, name, column) for name, column in columns.items()]
    check_columns(path, {name: (len(column), column.dtype) for name, column in zip(columns, flat, strict=True)})
    raw = (flat[0], flat[1], flat[2], flat[3])
    return _recording("npz", path, raw, Clock.of(raw[2].dtype, names.unit), _stated_size(archive), options)


def open_npy_recording(path: Path, options: OpenOptions) -> BlockRecording:
    """Open an array; raise RecordingError where it does not hold events, or is damaged."""
    return _recording("npy", path, *_unpack(path, open_npy(path)), None, options)


def _recording(
    name: str, path: Path, columns: RawColumns, clock: Clock, stated: tuple[int, int] | None, options: OpenOptions
) -> BlockRecording:
    size = options.size(path, stated or sidecar_size(path.parent))
    source = ColumnSource(path, ArrayColumns(columns), clock, name, options.index_folder)
    return BlockRecording(name, path, size, source, options)


def _only_table(archive: NpzArchive) -> NDArray[Any]:
    tables = []
    for name in archive.names:
        header = archive.header(name)
        is_structured = header.dtype.fields is not None and len(header.shape) == 1
        if is_structured or header.shape[1:] == (4,):
            tables.append(name)
    if len(tables) != 1:
        raise RecordingError(
            f"{archive.path}: expected arrays x, y, t, p, or one structured or (N, 4) array; found "
            f"{', '.join(archive.names) or 'none'}"
        )
    return archive.array(tables[0])


def _unpack(path: Path, table: NDArray[Any]) -> tuple[RawColumns, Clock]:
    if table.dtype.fields:
        names = match_columns(table.dtype.fields)
        if names is None or table.ndim != 1:
            fields = ", ".join(table.dtype.fields)
            raise RecordingError(f"{path}: an array {table.shape} with fields {fields}, expected x, y, t, p")
        raw = table[names.x], table[names.y], table[names.t], table[names.p]
        check_columns(path, {field: (len(table), table[field].dtype) for field in (names.x, names.y, names.t, names.p)})
        return raw, Clock.of(raw[2].dtype, names.unit)
    if table.ndim != 2 or table.shape[1] != 4:
        raise RecordingError(f"{path}: an array of shape {table.shape}, expected (events, 4) or named fields")
    check_columns(path, {"the array": (len(table), table.dtype)})
    x, y, t, p = _order(path, table[:BLOCK_EVENTS])
    return (table[:, x], table[:, y], table[:, t], table[:, p]), Clock.of(table.dtype)


def _order(path: Path, start: NDArray[Any]) -> tuple[int, int, int, int]:
    """Return which columns are x, y, t, p, judged by the first events."""
    possible = [order for order in ORDERS if all(_are_pixels(start[:, column]) for column in order[:2])]
    if len(possible) > 1:
        in_order = [order for order in possible if bool((start[1:, order[2]] >= start[:-1, order[2]]).all())]
        possible = in_order if len(in_order) == 1 else possible
    if len(possible) != 1 and len(start):
        kind = "neither x, y, t, p nor t, x, y, p" if not possible else "x, y, t, p or t, x, y, p"
        raise RecordingError(f"{path}: the columns of the (N, 4) array may be {kind}: store them with names")
    return possible[0]


def _are_pixels(column: NDArray[Any]) -> bool:
    with np.errstate(invalid="ignore"):
        return bool(((column >= 0) & (column < 65535) & (column == np.floor(column))).all())


def _vector(path: Path, name: str, column: NDArray[Any]) -> NDArray[Any]:
    if column.ndim == 1 or (column.ndim == 2 and 1 in column.shape):
        return column.reshape(-1)
    raise RecordingError(f"{path}: {name} has shape {column.shape}, expected one column")


def _stated_size(archive: NpzArchive) -> tuple[int, int] | None:
    for names in SIZE_NAMES:
        if all(name in archive.names for name in names):
            height, width = (_whole(archive, name) for name in names)
            return height, width
    return None


def _whole(archive: NpzArchive, name: str) -> int:
    header = archive.header(name)
    value = archive.array(name).reshape(-1) if header.num_bytes <= 8 else np.empty(0)
    if len(value) != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value[0]) or value[0] != int(value[0]):
        raise RecordingError(f"{archive.path}: {name} is {header.dtype} {header.shape}, expected one whole number")
    return int(value[0])


def write_npz(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    """Write an uncompressed archive of x, y uint16, t int64 us, p uint8, height and width, as numpy.load reads it."""
    with SpooledColumns(path.parent, chunks) as columns, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, side in (("height", height), ("width", width)):
            with archive.open(f"{name}.npy", "w") as member:
                member.write(_npy_header(np.dtype("<i8"), "()") + struct.pack("<q", side))
        for name, dtype in STORED.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(_npy_header(dtype, f"({columns.num_events},)"))
                columns.copy(name, member)


def _npy_header(dtype: np.dtype[Any], shape: str) -> bytes:
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    padded = text + " " * (-(len(MAGIC) + 4 + len(text) + 1) % 64) + "\n"
    return MAGIC + bytes((1, 0)) + struct.pack("<H", len(padded)) + padded.encode()


def _matches_npz(path: Path, start: bytes) -> bool:
    size = int.from_bytes(start[26:28], "little")
    return start.startswith(b"PK\x03\x04") and start[30 : 30 + size].endswith(b".npy")


def _matches_npy(path: Path, start: bytes) -> bool:
    return start.startswith(MAGIC)


FORMATS = (
    Format("npz", "numpy archive", (".npz",), _matches_npz, open_npz, write_npz),
    Format("npy", "numpy array", (), _matches_npy, open_npy_recording),
)
