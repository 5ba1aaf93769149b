"""Bags made for tests with the `rosbags` package's own writers and serialisers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from eventsam.events import Events
from eventsam.io.rosbag_fields import TEXTS

ROS1, ROS2 = "ros1", "ros2"


class MadeBag:
    """A bag being written: `kind` is ros1, sqlite3 or mcap."""

    def __init__(self, path: Path, kind: str, compression: str | None = None) -> None:
        self.ros1 = kind == ROS1
        self.types = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        for name, text in TEXTS.items():
            if name not in self.types.fielddefs:
                found = get_types_from_msg(text, name)
                # The header of ROS 1 has a field more, which its own store knows.
                self.types.register({key: value for key, value in found.items() if key not in self.types.fielddefs})
        if self.ros1:
            self.writer: Any = Writer1(path)
            if compression:
                self.writer.set_compression(Writer1.CompressionFormat[compression.upper()])
        else:
            self.writer = Writer2(path, version=9, storage_plugin=StoragePlugin[kind.upper()])
        self.connections: dict[tuple[str, str], Connection] = {}

    def __enter__(self) -> "MadeBag":
        self.writer.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    def cls(self, name: str) -> Any:
        return self.types.types[name]

    def header(self, ns: int) -> Any:
        stamp = self.cls("builtin_interfaces/msg/Time")(ns // 10**9, ns % 10**9)
        header = self.cls("std_msgs/msg/Header")
        return header(7, stamp, "camera") if self.ros1 else header(stamp, "camera")

    def topic(self, name: str, kind: str) -> Connection:
        key = name, kind
        if key not in self.connections:
            self.connections[key] = self.writer.add_connection(name, kind, typestore=self.types)
        return self.connections[key]

    def write(self, topic: str, kind: str, log_ns: int, message: Any) -> None:
        serialize = self.types.serialize_ros1 if self.ros1 else self.types.serialize_cdr
        self.writer.write(self.topic(topic, kind), log_ns, bytes(serialize(message, kind)))

    def array(self, topic: str, log_ns: int, events: Events, extra_ns: int = 0, package: str = "dvs_msgs") -> None:
        event, time = self.cls(f"{package}/msg/Event"), self.cls("builtin_interfaces/msg/Time")
        rows = zip(*(getattr(events, name).tolist() for name in "xytp"), strict=True)
        structs = [event(x, y, time(t // 10**6, t % 10**6 * 1000 + extra_ns), bool(p)) for x, y, t, p in rows]
        kind = f"{package}/msg/EventArray"
        self.write(topic, kind, log_ns, self.cls(kind)(self.header(log_ns), events.height, events.width, structs))

    def packet(
        self, topic: str, log_ns: int, size: tuple[int, int], encoding: str, data: bytes, base_ns: int = 0,
        big: bool = False,
    ) -> None:  # fmt: skip
        kind = "event_camera_msgs/msg/EventPacket"
        content = np.frombuffer(data, np.uint8)
        message = self.cls(kind)(self.header(log_ns), *size, 3, base_ns, encoding, big, content)
        self.write(topic, kind, log_ns, message)

    def image(self, topic: str, log_ns: int, encoding: str, image: np.ndarray, step: int) -> None:
        kind = "sensor_msgs/msg/Image"
        height, width = image.shape[:2]
        rows = np.zeros((height, step), np.uint8)
        rows[:, : image[0].size] = image.reshape(height, -1)
        message = self.cls(kind)(self.header(log_ns), height, width, encoding, 0, step, rows.reshape(-1))
        self.write(topic, kind, log_ns, message)

    def imu(self, topic: str, log_ns: int, acceleration: Sequence[float], rate: Sequence[float]) -> None:
        vector, zeros = self.cls("geometry_msgs/msg/Vector3"), np.zeros(9)
        turn = self.cls("geometry_msgs/msg/Quaternion")(0.0, 0.0, 0.0, 1.0)
        parts = (turn, zeros, vector(*rate), zeros, vector(*acceleration), zeros)
        kind = "sensor_msgs/msg/Imu"
        self.write(topic, kind, log_ns, self.cls(kind)(self.header(log_ns), *parts))


def mono_words(events: Events, base_ns: int, extra_ns: int = 0) -> bytes:
    """Return the `mono` encoding of events."""
    dt = (events.t * 1000 + extra_ns - base_ns).astype(np.uint64)
    words = dt | events.x.astype(np.uint64) << 32 | events.y.astype(np.uint64) << 48 | events.p.astype(np.uint64) << 63
    return words.astype("<u8").tobytes()


def libcaer_words(events: Events, base_us: int) -> bytes:
    """Return the `libcaer` encoding of events: address, then 31 bits of us since the base."""
    address = events.x.astype(np.uint32) << 17 | events.y.astype(np.uint32) << 2 | events.p.astype(np.uint32) << 1 | 1
    times = ((events.t - base_us) % (1 << 31)).astype(np.uint32)
    return np.stack([address, times], axis=1).astype("<u4").tobytes()
