"""The records of bag files, checked against the file before anything is allocated by what they state.

ROS 1 (bag format 2.0): a line `#ROSBAG V2.0`, then records of u32 header length, header (fields of u32 length and
`name=value`), u32 data length, data. MCAP: 8 magic bytes, records of u8 opcode, u64 length and content, the magic.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from eventsam.io.recording import RecordingError

BAG_MAGIC = b"#ROSBAG V2.0\n"
MCAP_MAGIC = b"\x89MCAP0\r\n"

BAG_HEADER, BAG_CHUNK, BAG_CHUNK_INFO = 3, 5, 6
MCAP_FOOTER, MCAP_CHUNK, MCAP_CHUNK_INDEX = 2, 6, 8

MAX_EXPANSION, EXPANSION_FLOOR = 512, 1 << 20
"""Bytes that a compressed chunk may state per byte of its own, and at least."""


def check_bag(path: Path) -> None:
    """Raise RecordingError where a record of a ROS 1 bag leaves the file, or a place it names is no record's."""
    size = path.stat().st_size
    starts, named = set(), []
    with path.open("rb") as file:
        file.seek(len(BAG_MAGIC))
        for start, fields, data_size in _bag_records(path, file, size):
            starts.add(start)
            operation = fields.get(b"op", b"")
            if operation == bytes([BAG_HEADER]):
                named.append((start, fields.get(b"index_pos", b"")))
            elif operation == bytes([BAG_CHUNK_INFO]):
                named.append((start, fields.get(b"chunk_pos", b"")))
            elif operation == bytes([BAG_CHUNK]):
                _check_expansion(path, start, data_size, int.from_bytes(fields.get(b"size", b""), "little"))
    for start, place in named:
        position = int.from_bytes(place, "little")
        # 0: not indexed, which the reader says; the end of the file: an index without records.
        if position and position != size and position not in starts:
            raise RecordingError(f"{path}: the record at byte {start} names byte {position}, where no record starts")


def _bag_records(path: Path, file: BinaryIO, size: int) -> Iterator[tuple[int, dict[bytes, bytes], int]]:
    position = len(BAG_MAGIC)
    while position < size:
        header_size = _u32(path, file, position, size)
        if position + 4 + header_size + 4 > size:
            raise RecordingError(f"{path}: truncated: the record at byte {position} leaves the file of {size} bytes")
        fields = _bag_fields(path, position, file.read(header_size))
        data_size = _u32(path, file, position + 4 + header_size, size)
        end = position + 8 + header_size + data_size
        if end > size:
            raise RecordingError(
                f"{path}: truncated: the record at byte {position} needs {end - position} bytes, "
                f"{size - position} are there"
            )
        yield position, fields, data_size
        file.seek(end)
        position = end


def _bag_fields(path: Path, position: int, header: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    at = 0
    while at < len(header):
        count = int.from_bytes(header[at : at + 4], "little")
        name, equals, value = header[at + 4 : at + 4 + count].partition(b"=")
        if at + 4 + count > len(header) or not equals:
            raise RecordingError(f"{path}: the header of the record at byte {position} is damaged")
        fields[name] = value
        at += 4 + count
    return fields


def check_mcap(path: Path) -> None:
    """Raise RecordingError where a record of an MCAP file leaves it, or a place it names is no record's."""
    size = path.stat().st_size
    starts, named = set(), []
    with path.open("rb") as file:
        file.seek(size - len(MCAP_MAGIC) if size > 2 * len(MCAP_MAGIC) else 0)
        if size <= 2 * len(MCAP_MAGIC) or file.read() != MCAP_MAGIC:
            raise RecordingError(f"{path}: truncated at byte {size}: an MCAP file ends with {MCAP_MAGIC!r}")
        for start, operation, length in _mcap_records(path, file, size - len(MCAP_MAGIC)):
            starts.add(start)
            if operation == MCAP_FOOTER:
                named.append((start, int.from_bytes(file.read(min(length, 8)), "little")))
            elif operation == MCAP_CHUNK:
                compressed, expanded = _mcap_chunk(path, start, file.read(min(length, 1024)), length)
                _check_expansion(path, start, compressed, expanded)
            elif operation == MCAP_CHUNK_INDEX:
                named.append((start, _mcap_chunk_index(path, start, file.read(min(length, 1 << 20)), size)))
    for start, position in named:
        if position and position not in starts:
            raise RecordingError(f"{path}: the record at byte {start} names byte {position}, where no record starts")


def _mcap_records(path: Path, file: BinaryIO, end: int) -> Iterator[tuple[int, int, int]]:
    position = len(MCAP_MAGIC)
    while position < end:
        file.seek(position)
        head = file.read(9)
        length = int.from_bytes(head[1:], "little")
        if len(head) < 9 or position + 9 + length > end:
            raise RecordingError(f"{path}: truncated: the record at byte {position} leaves the file of {end + 8} bytes")
        yield position, head[0], length
        position += 9 + length


def _mcap_chunk(path: Path, start: int, content: bytes, length: int) -> tuple[int, int]:
    """Return the compressed and the expanded size that a chunk states."""
    try:
        expanded, _, name_size = struct.unpack_from("<QII", content, 16)
        (compressed,) = struct.unpack_from("<Q", content, 32 + name_size)
    except struct.error as error:
        raise RecordingError(f"{path}: the chunk at byte {start} is damaged: {error}") from error
    if 40 + name_size + compressed > length:
        raise RecordingError(f"{path}: the chunk at byte {start} states {compressed} bytes of the {length} it has")
    return compressed, expanded


def _mcap_chunk_index(path: Path, start: int, content: bytes, size: int) -> int:
    """Return where an index entry says that its chunk starts."""
    try:
        place, chunk_size, map_size = struct.unpack_from("<QQI", content, 16)
        (name_size,) = struct.unpack_from("<I", content, 44 + map_size)
        compressed, expanded = struct.unpack_from("<QQ", content, 48 + map_size + name_size)
    except struct.error as error:
        raise RecordingError(f"{path}: the chunk index at byte {start} is damaged: {error}") from error
    if place + chunk_size > size or compressed > chunk_size:
        raise RecordingError(f"{path}: the chunk index at byte {start} names bytes outside the file of {size}")
    _check_expansion(path, start, compressed, expanded)
    return int(place)


def _check_expansion(path: Path, start: int, compressed: int, expanded: int) -> None:
    if expanded > MAX_EXPANSION * compressed + EXPANSION_FLOOR:
        raise RecordingError(f"{path}: the chunk at byte {start} of {compressed} bytes states {expanded} expanded")


def _u32(path: Path, file: BinaryIO, position: int, size: int) -> int:
    data = file.read(4)
    if len(data) < 4:
        raise RecordingError(f"{path}: truncated at byte {size}, in the record at byte {position}")
    return int.from_bytes(data, "little")
