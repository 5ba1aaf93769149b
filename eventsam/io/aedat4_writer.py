"""Writing AEDAT 4: events as iniVation's DV and dv-processing read them, with the table of packets."""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Literal
from xml.sax.saxutils import escape

import flatbuffers
import numpy as np
import pyarrow as pa

from eventsam.events import Events

MAX_COORDINATES = 1 << 15
"""Sensor side that the format's i16 coordinates can address."""
PACKET_EVENTS = 1 << 16
"""Events per packet at most: 1 MB before compression."""

EVENT = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)

_PACKET_START = struct.Struct("<II4sHHHxxiIi")
"""Size, root offset, identifier; vtable of one field, padded; the table; the number of events. 32 bytes, so that the
events are aligned to 8 as FlatBuffers asks."""

_XML = """<dv version="2.0">
    <node name="outInfo" path="/outInfo/">
        <node name="0" path="/outInfo/0/">
            <attr key="compression" type="string">{compression}</attr>
            <attr key="originalModuleName" type="string">eventsam</attr>
            <attr key="originalOutputName" type="string">events</attr>
            <attr key="typeDescription" type="string">Array of events (polarity ON/OFF).</attr>
            <attr key="typeIdentifier" type="string">EVTS</attr>
            <node name="info" path="/outInfo/0/info/">
                <attr key="sizeX" type="int">{width}</attr>
                <attr key="sizeY" type="int">{height}</attr>
                <attr key="source" type="string">{source}</attr>
            </node>
        </node>
    </node>
</dv>
"""

MAGIC_LINE = b"#!AER-DAT4.0\r\n"


def write_aedat4(
    path: Path, chunks: Iterable[Events], height: int, width: int, compression: Literal["none", "lz4"] = "lz4"
) -> None:
    """Write events that follow each other in time as stream 0 of a new file.

    Raises ValueError for a sensor side above MAX_COORDINATES. Any int64 time is kept as it is.
    """
    if max(height, width) > MAX_COORDINATES:
        raise ValueError(f"AEDAT 4 holds sensors up to {MAX_COORDINATES} pixels a side, not {height}x{width}")
    table: list[tuple[int, int, int, int, int]] = []
    with path.open("wb") as file:
        file.write(_header(compression, 0, height, width))
        for chunk in chunks:
            for first in range(0, len(chunk), PACKET_EVENTS):
                table.append(_write_packet(file, chunk.slice(first, first + PACKET_EVENTS), compression))
        position = file.tell()
        file.write(_compress(_packet_table(table), compression))
        # Now that it is known where the table lies; the header keeps its length.
        file.seek(0)
        file.write(_header(compression, position, height, width))


def _write_packet(file: BinaryIO, events: Events, compression: str) -> tuple[int, int, int, int, int]:
    """Write one packet; return its entry in the table: offset, size, number of events, first and last time."""
    rows = np.zeros(len(events), EVENT)
    for name in ("t", "x", "y", "p"):
        rows[name] = getattr(events, name)
    start = _PACKET_START.pack(28 + rows.nbytes, 16, b"EVTS", 6, 8, 4, 8, 4, len(rows))
    payload = _compress(start + rows.tobytes(), compression)
    file.write(struct.pack("<ii", 0, len(payload)))
    offset = file.tell()
    file.write(payload)
    return offset, len(payload), len(rows), int(events.t[0]), int(events.t[-1])


def _compress(data: bytes, compression: str) -> bytes:
    if compression == "none":
        return data
    compressed: bytes = pa.Codec("lz4").compress(data, asbytes=True)
    return compressed


def _header(compression: str, table_position: int, height: int, width: int) -> bytes:
    xml = _XML.format(compression=compression.upper(), height=height, width=width, source=escape("eventsam"))
    builder = flatbuffers.Builder(len(xml) + 256)
    text = builder.CreateString(xml)
    # Also fields with their default value, so that the header's length does not depend on the position.
    builder.ForceDefaults(True)
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(2, text, 0)
    builder.PrependInt64Slot(1, table_position, 0)
    builder.PrependInt32Slot(0, {"none": 0, "lz4": 1}[compression], 0)
    builder.FinishSizePrefixed(builder.EndObject(), file_identifier=b"IOHE")
    return MAGIC_LINE + bytes(builder.Output())


def _packet_table(entries: list[tuple[int, int, int, int, int]]) -> bytes:
    builder = flatbuffers.Builder(64 * len(entries) + 64)
    builder.ForceDefaults(True)
    tables = []
    for offset, size, count, t_first, t_last in entries:
        builder.StartObject(5)
        for slot, value in ((0, offset), (2, count), (3, t_first), (4, t_last)):
            builder.PrependInt64Slot(slot, value, 0)
        builder.Prep(4, 8)
        builder.PrependInt32(size)
        builder.PrependInt32(0)
        builder.PrependStructSlot(1, builder.Offset(), 0)
        tables.append(builder.EndObject())
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    builder.FinishSizePrefixed(builder.EndObject(), file_identifier=b"FTAB")
    return bytes(builder.Output())
