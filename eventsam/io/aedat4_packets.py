"""AEDAT 4 on disk: the header, the packets, the table of packets, and what a packet holds.

Layout (little-endian), after iniVation's description of the format: the line `#!AER-DAT4.0\\r\\n`; u32 size and that
many bytes of a FlatBuffer `IOHE` (compression, position of the table, XML about the streams); packets of i32 stream,
i32 size and a payload, compressed as a whole; and, where the recorder closed the file, a compressed table of packets.
A decompressed payload is a FlatBuffer with its size before it and a four-letter identifier behind its root offset.
"""

import struct
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
from flatbuffers import number_types
from flatbuffers.table import Table
from numpy.typing import NDArray

from eventsam.io.recording import Frame

MAGIC = b"#!AER-DAT4.0\r\n"
CODECS = ("none", "lz4", "lz4", "zstd", "zstd")
"""Codec by the header's number: none, LZ4, LZ4 high, Zstd, Zstd high."""
EVENT = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
CHANNELS_BY_FORMAT = {0: 1, 16: 3, 24: 4}
"""Pixel formats by number: grey, BGR, BGRA (the OpenCV type codes)."""

FAULTS = (struct.error, IndexError, TypeError, ValueError, OverflowError, AssertionError, pa.ArrowInvalid, OSError)
"""What reading a damaged FlatBuffer or compressed block can raise."""


@dataclass(frozen=True)
class Stream:
    """A stream that the header announces: its number, its identifier (`EVTS`, `FRME`, ...), sensor size and camera."""

    number: int
    identifier: str
    height: int
    width: int
    source: str


@dataclass(frozen=True)
class Header:
    """The file's header; `table_position` is 0 or less where the recorder did not write a table of packets."""

    codec: str
    table_position: int
    streams: tuple[Stream, ...]
    end: int


@dataclass(frozen=True)
class Packet:
    """Where a packet's payload lies, and what the table says about it (None where it says nothing)."""

    stream: int
    offset: int
    size: int
    count: int | None = None
    t_first: int | None = None
    t_last: int | None = None


def read_header(data: Any) -> Header:
    """Read the header of a whole file given as a buffer; raise ValueError saying what is wrong with it."""
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise ValueError(f"not an AEDAT 4 file: starts with {bytes(data[: len(MAGIC)])!r}")
    start = len(MAGIC) + 4
    (size,) = struct.unpack("<I", _exactly(data, len(MAGIC), 4))
    body = _exactly(data, start, size)
    if body[4:8] != b"IOHE":
        raise ValueError(f"the header is marked {body[4:8]!r}, expected b'IOHE'")
    table = Table(body, struct.unpack_from("<I", body)[0])
    codec = _scalar(table, 0, number_types.Int32Flags, 0)
    if not 0 <= codec < len(CODECS):
        raise ValueError(f"unknown compression {codec}, allowed: 0 to {len(CODECS) - 1}")
    text = table.Offset(8)
    streams = _read_streams(table.String(text + table.Pos).decode("utf-8")) if text else ()
    return Header(CODECS[codec], _scalar(table, 1, number_types.Int64Flags, -1), streams, start + size)


def _read_streams(text: str) -> tuple[Stream, ...]:
    # A document type is where entities are declared; recorders write none, so none is read.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("the stream description declares a document type, which is not allowed")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"the stream description is not XML: {error}") from error
    nodes = root.findall("./node[@name='outInfo']/node")
    return tuple(_read_stream(node) for node in nodes)


def _read_stream(node: ElementTree.Element) -> Stream:
    def attribute(key: str, default: str) -> str:
        found = node.find(f".//attr[@key='{key}']")
        return default if found is None or found.text is None else found.text

    return Stream(
        number=int(node.get("name", "-1")),
        identifier=attribute("typeIdentifier", ""),
        height=int(attribute("sizeY", "0")),
        width=int(attribute("sizeX", "0")),
        source=attribute("source", ""),
    )


def read_packets(data: Any, header: Header) -> list[Packet]:
    """List the packets: by the table where there is one, else from packet to packet."""
    if header.table_position <= 0:
        return _scan_packets(data, header.end, len(data))
    if not header.end <= header.table_position < len(data):
        raise ValueError(
            f"truncated: the table of packets should lie at byte {header.table_position}, the file has {len(data)}"
        )
    table = _root(decompress(bytes(data[header.table_position :]), header.codec), b"FTAB")
    packets = _table_packets(table)
    for packet in packets:
        if packet.offset < header.end or packet.size < 0 or packet.offset + packet.size > header.table_position:
            raise ValueError(
                f"the table names a packet at byte {packet.offset} with {packet.size} bytes: out of bounds"
            )
    return packets


def _scan_packets(data: Any, start: int, end: int) -> list[Packet]:
    packets = []
    position = start
    while position < end:
        stream, size = struct.unpack("<ii", _exactly(data, position, 8))
        if size < 0 or position + 8 + size > end:
            raise ValueError(
                f"truncated: the packet at byte {position} needs {size} bytes, {end - position - 8} are left"
            )
        packets.append(Packet(stream, position + 8, size))
        position += 8 + size
    return packets


def _table_packets(table: Table) -> list[Packet]:
    vector = table.Offset(4)
    if not vector:
        return []
    start = table.Vector(vector)
    packets = []
    for i in range(table.VectorLen(vector)):
        entry = Table(table.Bytes, table.Indirect(start + 4 * i))
        place = entry.Offset(6)
        if not place:
            raise ValueError(f"entry {i} of the table of packets has no size")
        stream, size = struct.unpack_from("<ii", table.Bytes, place + entry.Pos)
        count, t_first, t_last = (_scalar(entry, slot, number_types.Int64Flags, None) for slot in (2, 3, 4))
        offset = _scalar(entry, 0, number_types.Int64Flags, 0)
        packets.append(Packet(stream, offset, size, count, t_first, t_last))
    return packets


def decompress(payload: bytes, codec: str) -> bytes:
    """Return the bytes of a payload compressed as a whole."""
    if codec == "none":
        return payload
    plain: bytes = pa.CompressedInputStream(pa.BufferReader(payload), codec).read()
    return plain


def decode_events(payload: bytes) -> NDArray[np.void]:
    """Return the events of a decompressed packet as a structured array with t (us), x, y, p."""
    table = _root(payload, b"EVTS")
    vector = table.Offset(4)
    count = table.VectorLen(vector) if vector else 0
    return np.frombuffer(payload, EVENT, count, table.Vector(vector) if vector else 0)


def decode_frame(payload: bytes) -> Frame:
    """Return the frame of a decompressed packet; colours come out in red, green, blue order, without alpha."""
    table = _root(payload, b"FRME")
    pixel_format = _scalar(table, 5, number_types.Int8Flags, 0)
    width, height = (_scalar(table, slot, number_types.Int16Flags, 0) for slot in (6, 7))
    channels = CHANNELS_BY_FORMAT.get(pixel_format)
    if channels is None:
        raise ValueError(f"frame of pixel format {pixel_format}, allowed: {', '.join(map(str, CHANNELS_BY_FORMAT))}")
    vector = table.Offset(24)
    size = table.VectorLen(vector) if vector else 0
    if size != width * height * channels or not size:
        raise ValueError(f"frame of {height}x{width} pixels and {channels} channels holds {size} bytes")
    pixels = np.frombuffer(payload, np.uint8, size, table.Vector(vector)).reshape(height, width, channels)
    start, end = _exposure(table)
    image = np.ascontiguousarray(pixels[..., 2::-1].transpose(2, 0, 1) if channels > 1 else pixels.transpose(2, 0, 1))
    return Frame((start + end) // 2, start, end, image)


def _exposure(table: Table) -> tuple[int, int]:
    # Every known recorder states start and end. Else the first time with a duration is the start (as dv-processing 2.0
    # writes it), and alone it is the middle (as the first version of the format has it).
    time, start, end, duration = (_scalar(table, slot, number_types.Int64Flags, 0) for slot in (0, 3, 4, 11))
    if end >= start > 0:
        return start, end
    return time, time + max(duration, 0)


def _root(payload: bytes, identifier: bytes) -> Table:
    (size,) = struct.unpack("<I", _exactly(payload, 0, 4))
    if size + 4 > len(payload):
        raise ValueError(f"truncated: a packet should hold {size} bytes, {len(payload) - 4} are there")
    if payload[8:12] != identifier:
        raise ValueError(f"a packet is marked {payload[8:12]!r}, expected {identifier!r}")
    return Table(payload, 4 + struct.unpack_from("<I", payload, 4)[0])


def _scalar(table: Table, slot: int, flags: Any, default: Any) -> Any:
    offset = table.Offset(4 + 2 * slot)
    return table.Get(flags, offset + table.Pos) if offset else default


def _exactly(data: Any, start: int, size: int) -> bytes:
    part = bytes(data[start : start + size])
    if len(part) != size:
        raise ValueError(f"truncated: {size} bytes should lie at byte {start}, {len(part)} are there")
    return part
