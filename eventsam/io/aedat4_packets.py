"""AEDAT 4 on disk: the header, the packets and the table of packets.

Layout (little-endian), after iniVation's description of the format: the line `#!AER-DAT4.0\\r\\n`; u32 size and that
many bytes of a FlatBuffer `IOHE` (compression, position of the table, XML about the streams); packets of i32 stream,
i32 size and a payload, compressed as a whole; and, where the recorder closed the file, a compressed table of packets.
A decompressed payload is a FlatBuffer with its size before it and a four-letter identifier behind its root offset.
"""

import struct
import threading
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eventsam.io.flatbuffer import Field, Root

MAGIC = b"#!AER-DAT4.0\r\n"
CODECS = ("none", "lz4", "lz4", "zstd", "zstd")
"""Codec by the header's number: none, LZ4, LZ4 high, Zstd, Zstd high."""

UNKNOWN = -1
"""Number of events of a packet that the table of packets does not describe."""

_PLAIN_FLOOR = 16 << 20
_PLAIN_PER_BYTE = 256
"""A packet may decompress to the floor, a million events, plus this much per byte: LZ4 cannot do more than 255."""

FAULTS = (struct.error, LookupError, TypeError, ValueError, OverflowError, AssertionError, RecursionError, OSError)
"""What reading a damaged header, packet or compressed block can raise (pyarrow's errors are ValueError or OSError)."""


@dataclass(frozen=True)
class Stream:
    """A stream that the header announces: its number, its identifier (`EVTS`, `FRME`, ...), sensor size and camera.

    Height and width are 0 where the header does not state them.
    """

    number: int
    identifier: str
    name: str
    source: str
    height: int
    width: int


@dataclass(frozen=True)
class Header:
    """The file's header; `table_position` is 0 or less where the recorder did not write a table of packets."""

    codec: str
    table_position: int
    streams: tuple[Stream, ...]
    end: int


@dataclass(frozen=True, eq=False)
class Packets:
    """The packets of a file in the order of their bytes, int64 (N,) each.

    `offset` and `size` are those of the payload. `count` is UNKNOWN, and the times mean nothing, where no table tells.
    """

    stream: NDArray[np.int64]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    count: NDArray[np.int64]
    t_first: NDArray[np.int64]
    t_last: NDArray[np.int64]

    def of(self, stream: int) -> "Packets":
        """Return the packets of one stream."""
        return self.take(np.flatnonzero(self.stream == stream))

    def take(self, numbers: NDArray[np.int64]) -> "Packets":
        """Return packets by number, in that order."""
        columns = (self.stream, self.offset, self.size, self.count, self.t_first, self.t_last)
        return Packets(*(column[numbers] for column in columns))

    def __len__(self) -> int:
        """Number of packets."""
        return len(self.offset)


def read_header(data: NDArray[np.uint8]) -> Header:
    """Read the header of a whole file; raise one of FAULTS saying what is wrong with it."""
    magic = data[: len(MAGIC)].tobytes()
    if magic != MAGIC:
        raise ValueError(f"not an AEDAT 4 file: starts with {magic!r}")
    start = len(MAGIC) + 4
    if start > len(data):
        raise ValueError(f"truncated: the header should start at byte {start}, the file has {len(data)}")
    (size,) = struct.unpack_from("<I", data.data, len(MAGIC))
    if start + size > len(data):
        raise ValueError(f"truncated: a header of {size} bytes should start at byte {start}, the file has {len(data)}")
    root = Root(data[start : start + size], b"IOHE", size_prefixed=False)
    codec = root.scalar(0, "<i4")
    if not 0 <= codec < len(CODECS):
        raise ValueError(f"unknown compression {codec}, allowed: 0 to {len(CODECS) - 1}")
    text = root.text(2)
    return Header(CODECS[codec], root.scalar(1, "<i8", -1), _read_streams(text) if text else (), start + size)


def _read_streams(text: str) -> tuple[Stream, ...]:
    # A document type is where entities are declared; recorders write none, so none is read.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("the stream description declares a document type, which is not allowed")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"the stream description is not XML: {error}") from error
    return tuple(_read_stream(node) for node in root.findall("./node[@name='outInfo']/node"))


def _read_stream(node: ElementTree.Element) -> Stream:
    attributes = {entry.get("key", ""): entry.text or "" for entry in node.iter("attr")}
    return Stream(
        number=int(node.get("name", "-1")),
        identifier=attributes.get("typeIdentifier", ""),
        name=attributes.get("originalOutputName", ""),
        source=attributes.get("source", ""),
        height=int(attributes.get("sizeY", "0")),
        width=int(attributes.get("sizeX", "0")),
    )


def read_packets(data: NDArray[np.uint8], header: Header) -> Packets:
    """List the packets: by the table where there is one, else from packet to packet; raise one of FAULTS."""
    if header.table_position <= 0:
        return _scan_packets(data, header.end)
    if not header.end <= header.table_position < len(data):
        raise ValueError(
            f"truncated: the table of packets should lie at byte {header.table_position}, the file has {len(data)}"
        )
    packets = _table_packets(data[header.table_position :], header.codec)
    outside = (packets.offset < header.end) | (packets.size < 0)
    outside |= packets.offset > header.table_position - packets.size
    if outside.any():
        number = int(outside.argmax())
        raise ValueError(
            f"the table of packets names one at byte {packets.offset[number]} with {packets.size[number]} bytes, "
            f"allowed: from byte {header.end} to {header.table_position}"
        )
    return packets


def _scan_packets(data: NDArray[np.uint8], start: int) -> Packets:
    """Follow the packets of a file whose recorder did not get to write the table."""
    places = []
    position, end = start, len(data)
    while position < end:
        if position + 8 > end:
            raise ValueError(f"truncated: a packet starts at byte {position}, the file has {end}")
        stream, size = struct.unpack_from("<ii", data.data, position)
        if size < 0 or position + 8 + size > end:
            raise ValueError(
                f"truncated: the packet at byte {position} needs {size} bytes, {end - position - 8} are left"
            )
        places.append((stream, position + 8, size))
        position += 8 + size
    streams, offsets, sizes = np.array(places, np.int64).reshape(-1, 3).T
    unknown = np.full(len(places), UNKNOWN, np.int64)
    return Packets(streams, offsets, sizes, unknown, unknown, unknown)


def _table_packets(data: NDArray[np.uint8], codec: str) -> Packets:
    root = Root(decompress(data, codec, plain_limit(len(data)), Scratch()), b"FTAB")
    missing = -(1 << 63)
    stream, size, offset, count, t_first, t_last = root.tables(
        0,
        [
            Field(1, "<i4"),
            Field(1, "<i4", inside=4),
            Field(0, "<i8"),
            Field(2, "<i8", UNKNOWN),
            Field(3, "<i8", missing),
            Field(4, "<i8", missing),
        ],
    )
    # Early recorders left counts and times out, and so does any writer where they are 0.
    told = (count == 0) | ((count > 0) & (t_first != missing) & (t_last != missing) & (t_first <= t_last))
    count = np.where(told, count, UNKNOWN)
    columns = (column.astype(np.int64) for column in (stream, offset, size, count, t_first, t_last))
    return Packets(*columns).take(np.argsort(offset, kind="stable"))


def plain_limit(size: int) -> int:
    """Return how many bytes a packet of compressed `size` may decompress to."""
    return _PLAIN_FLOOR + _PLAIN_PER_BYTE * size


def plain_limits(sizes: NDArray[np.int64], codec: str) -> NDArray[np.int64]:
    """Return how many bytes each packet holds at most once it is decompressed."""
    return sizes if codec == "none" else _PLAIN_FLOOR + _PLAIN_PER_BYTE * sizes


class Scratch(threading.local):
    """Room for one decompressed packet per thread: fresh memory for each would cost more than decompressing it."""

    def __init__(self) -> None:
        """Start without room."""
        self._room = np.empty(0, np.uint8)

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return `size` bytes, valid until the thread takes again."""
        if len(self._room) < size:
            self._room = np.empty(size, np.uint8)
        return self._room[:size]


def decompress(payload: NDArray[np.uint8], codec: str, limit: int, scratch: Scratch) -> NDArray[np.uint8]:
    """Return the bytes of a payload compressed as a whole, a FlatBuffer that starts with its size.

    What the size claims is believed up to `limit` bytes only, so that a few bytes cannot ask for all the memory; raises
    ValueError beyond, and one of FAULTS for a damaged payload.
    """
    if codec == "none":
        return payload
    stream = pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(payload)), codec)
    prefix = stream.read(4)
    if len(prefix) < 4:
        raise ValueError(f"truncated: {len(prefix)} bytes decompressed, at least 4 expected")
    (size,) = struct.unpack("<I", prefix)
    if size + 4 > limit:
        raise ValueError(f"claims to decompress to {size + 4} bytes, allowed: {limit}")
    plain = scratch.take(size + 4)
    plain[:4] = np.frombuffer(prefix, np.uint8)
    if stream.readinto(plain[4:]) < size or stream.read(1):
        raise ValueError(f"does not decompress to the {size + 4} bytes it claims")
    # Read-only like an uncompressed payload, so that the compiled decoder has one specialisation.
    plain.flags.writeable = False
    return plain
