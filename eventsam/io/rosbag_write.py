"""Events as a ROS 1 bag: one topic of `dvs_msgs/EventArray`, the messages of the rpg_dvs_ros driver."""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from eventsam.events import Events
from eventsam.io.parquet_file import in_succession

try:
    from rosbags.rosbag1 import Writer
except ImportError as missing:
    _missing: ImportError | None = missing
else:
    _missing = None

TOPIC, TYPE = "/dvs/events", "dvs_msgs/msg/EventArray"
MESSAGE_EVENTS = 1 << 14
STRUCT = np.dtype([("x", "<u2"), ("y", "<u2"), ("seconds", "<u4"), ("nanoseconds", "<u4"), ("polarity", "u1")])
"""An event as ROS 1 packs it."""
EVENT_TEXT = "uint16 x\nuint16 y\ntime ts\nbool polarity"
HEADER_TEXT = "uint32 seq\ntime stamp\nstring frame_id"
RULE = "\n" + "=" * 80 + "\n"
TEXT = (
    f"Header header\nuint32 height\nuint32 width\nEvent[] events{RULE}MSG: std_msgs/Header\n{HEADER_TEXT}"
    f"{RULE}MSG: dvs_msgs/Event\n{EVENT_TEXT}"
)


def write_bag(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    """Write events that follow each other in time, 16384 per message, each message logged at its last event's time.

    Raises ValueError for times outside [0, 2^32) seconds, and where `rosbags` is not installed.
    """
    if _missing is not None:
        raise ValueError(f"{path}: writing bags needs rosbags: pip install rosbags ({_missing})")
    with Writer(path) as writer:
        topic = writer.add_connection(TOPIC, TYPE, msgdef=TEXT, md5sum=_checksum())
        for number, events in enumerate(_messages(chunks, height, width)):
            log_time = int(events.t[-1]) * 1000 if len(events) else 0
            writer.write(topic, log_time, _serialize(events, number))


def _messages(chunks: Iterable[Events], height: int, width: int) -> Iterator[Events]:
    """Cut chunks into messages; a recording without events is one empty message, which states the sensor."""
    empty = True
    for chunk in in_succession(chunks, height, width):
        if int(chunk.t[0]) < 0 or int(chunk.t[-1]) >= 1_000_000 << 32:
            raise ValueError(f"t runs from {chunk.t[0]} to {chunk.t[-1]} us: ROS 1 holds 0 to 2^32 seconds")
        empty = False
        for first in range(0, len(chunk), MESSAGE_EVENTS):
            yield chunk.slice(first, min(first + MESSAGE_EVENTS, len(chunk)))
    if empty:
        yield Events.empty(height, width)


def _serialize(events: Events, number: int) -> bytes:
    structs = np.empty(len(events), STRUCT)
    seconds, microseconds = np.divmod(events.t, 1_000_000)
    structs["x"], structs["y"], structs["polarity"] = events.x, events.y, events.p
    structs["seconds"], structs["nanoseconds"] = seconds, microseconds * 1000
    stamp = (int(seconds[-1]), int(microseconds[-1]) * 1000) if len(events) else (0, 0)
    header = struct.pack("<IIII", number & 0xFFFFFFFF, *stamp, 0)
    return header + struct.pack("<III", events.height, events.width, len(events)) + structs.tobytes()


def _checksum() -> str:
    """Return the md5 by which ROS 1 knows the type: that of its text, with other types' sums in their names' place."""
    header = hashlib.md5(HEADER_TEXT.encode(), usedforsecurity=False).hexdigest()
    event = hashlib.md5(EVENT_TEXT.encode(), usedforsecurity=False).hexdigest()
    text = f"{header} header\nuint32 height\nuint32 width\n{event} events"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
