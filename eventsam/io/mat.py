"""Recordings as MATLAB files: level 5 (`save -v6`, `-v7`) here; level 7.3 is HDF5 and read as such.

Found are x, y, t, p (or as `named_columns` lists) as variables, or as fields of one struct, as in N-MNIST's `TD.x`,
`TD.y`, `TD.p`, `TD.ts`; `stream` names the struct where there are several. MATLAB's numbers are floats unless told
otherwise, so times are microseconds where they are whole and seconds where not. Polarity is 0/1 or -1/+1. Coordinates
are taken as they stand: a file that counts pixels from 1 is not told apart. The sensor size is in `height` and `width`,
or comes from the options or a sidecar.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from eventsam.events import Events
from eventsam.io.block_recording import BlockRecording
from eventsam.io.column_blocks import ArrayColumns, ColumnSource, check_columns
from eventsam.io.format import Format
from eventsam.io.mat5_arrays import HEADER_BYTES, MATRIX, MatArray, is_mat5, read_mat5
from eventsam.io.named_columns import SIZE_NAMES, choose_stream, match_columns, whole_clock
from eventsam.io.recording import OpenOptions, RecordingError
from eventsam.io.sidecar import sidecar_size
from eventsam.io.spooled_columns import STORED, SpooledColumns

CLASSES = {"x": (11, 4), "y": (11, 4), "t": (14, 12), "p": (9, 2)}
"""Array class and element type of the columns we write: uint16, uint16, int64, uint8."""
MAX_ELEMENT_BYTES = (1 << 31) - 1
"""Level 5 holds no larger variable."""


def open_mat(path: Path, options: OpenOptions) -> BlockRecording:
    """Open a MAT-file; raise RecordingError where it holds no events, or is damaged."""
    arrays = read_mat5(path)
    members: dict[str, list[str]] = {}
    for name in arrays:
        group, _, member = name.rpartition(".")
        members.setdefault(group, []).append(member)
    groups = {group: found for group, names in members.items() if (found := match_columns(names)) is not None}
    group = choose_stream(path, groups, options.stream, ", ".join(arrays)[:500] or "no numbers")
    names, start = groups[group], f"{group}." if group else ""
    columns = [_column(path, start + name, arrays) for name in (names.x, names.y, names.t, names.p)]
    x, y, t, p = (column.values for column in columns)
    check_columns(path, {name: (len(values), values.dtype) for name, values in zip("xytp", (x, y, t, p), strict=True)})
    # A float column of whole values may be stored as integers: it is whole either way.
    clock = whole_clock(t, names.unit)
    size = options.size(path, _stated_size(path, arrays, start) or sidecar_size(path.parent))
    source = ColumnSource(path, ArrayColumns((x, y, t, p)), clock, f"mat:{group}", options.index_folder)
    return BlockRecording("mat", path, size, source, options)


def _column(path: Path, name: str, arrays: dict[str, MatArray]) -> MatArray:
    array = arrays[name]
    if sum(side != 1 for side in array.shape) > 1 and len(array.values):
        raise RecordingError(f"{path}: {name} has shape {array.shape}, expected one row or column")
    return array


def _stated_size(path: Path, arrays: dict[str, MatArray], start: str) -> tuple[int, int] | None:
    for prefix in dict.fromkeys((start, "")):
        for names in SIZE_NAMES:
            if all(prefix + name in arrays for name in names):
                height, width = (_whole(path, prefix + name, arrays) for name in names)
                return height, width
    return None


def _whole(path: Path, name: str, arrays: dict[str, MatArray]) -> int:
    values = arrays[name].values
    if len(values) != 1 or not np.isfinite(values[0]) or values[0] != int(values[0]):
        raise RecordingError(f"{path}: {name} has shape {arrays[name].shape}, expected one whole number")
    return int(values[0])


def write_mat(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    """Write x, y uint16, t int64 us, p uint8 (N, 1), height and width as an uncompressed level 5 file.

    Raises ValueError for more events than a level 5 variable holds (268 million).
    """
    text = b"MATLAB 5.0 MAT-file, events: t in microseconds"
    with SpooledColumns(path.parent, chunks) as columns, path.open("wb") as file:
        if columns.num_events * 8 > MAX_ELEMENT_BYTES - 1024:
            raise ValueError(f"a MAT-file holds up to {MAX_ELEMENT_BYTES // 8 - 128} events, not {columns.num_events}")
        file.write(text.ljust(HEADER_BYTES - 12) + bytes(8) + b"\x00\x01IM")
        for name, side in (("height", height), ("width", width)):
            _begin(file, name, 6, 9, 1, 8)
            file.write(struct.pack("<d", side))
        for name, dtype in STORED.items():
            num_bytes = columns.num_events * dtype.itemsize
            _begin(file, name, *CLASSES[name], columns.num_events, num_bytes)
            columns.copy(name, file)
            file.write(bytes(-num_bytes % 8))


def _begin(file: BinaryIO, name: str, array_class: int, kind: int, num_rows: int, num_bytes: int) -> None:
    """Write a variable's head: array flags, dimensions, name, and the tag of its numbers."""
    label = name.encode().ljust(-(-len(name) // 8) * 8, b"\0")
    head = struct.pack("<IIII", 6, 8, array_class, 0)
    head += struct.pack("<IIii", 5, 8, num_rows, 1)
    head += struct.pack("<II", 1, len(name)) + label
    head += struct.pack("<II", kind, num_bytes)
    file.write(struct.pack("<II", MATRIX, len(head) + num_bytes + (-num_bytes % 8)) + head)


def _matches(path: Path, start: bytes) -> bool:
    return is_mat5(start)


FORMATS = (Format("mat", "MATLAB file", (".mat",), _matches, open_mat, write_mat),)
