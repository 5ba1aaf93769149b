"""The fields of a ROS message, read from its bytes by its definition: ROS 1 serialisation and CDR (ROS 2).

A definition is what `rosbags` parses from the text that a bag carries: message type -> (constants, fields), a field a
name with (node type, detail). Bags that carry none (ROS 2 before Jazzy, in SQLite) fall back on the texts below, which
state the public field lists of these messages. ROS 1 packs fields without gaps; CDR aligns each to its own size, behind
a header of four bytes that states the byte order.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Definitions = Mapping[str, tuple[Any, list[tuple[str, tuple[int, Any]]]]]

BASE, NAME, ARRAY, SEQUENCE = 1, 2, 3, 4
"""Node types of `rosbags`."""

BASE_TYPES = {
    **{f"{sign}int{bits}": f"<{'u' if sign else 'i'}{bits // 8}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float32": "<f4", "float64": "<f8", "bool": "<u1", "byte": "<u1", "octet": "<u1", "char": "<u1",
}  # fmt: skip
"""numpy types of the base types."""

RULE = "=" * 80
HEADER = f"{RULE}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
TIME = f"{RULE}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
EVENT = f"{RULE}\nMSG: {{package}}/Event\nuint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity\n"
VECTOR = f"{RULE}\nMSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z\n"
QUATERNION = f"{RULE}\nMSG: geometry_msgs/Quaternion\nfloat64 x\nfloat64 y\nfloat64 z\nfloat64 w\n"
ARRAY_TEXT = "std_msgs/Header header\nuint32 height\nuint32 width\n{package}/Event[] events\n" + EVENT + HEADER + TIME
PACKET_TEXT = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\nstring encoding\n"
    "bool is_bigendian\nuint8[] events\n" + HEADER + TIME
)
TEXTS = {
    "dvs_msgs/msg/EventArray": ARRAY_TEXT.format(package="dvs_msgs"),
    "prophesee_event_msgs/msg/EventArray": ARRAY_TEXT.format(package="prophesee_event_msgs"),
    "event_camera_msgs/msg/EventPacket": PACKET_TEXT,
    "event_array_msgs/msg/EventArray": PACKET_TEXT,
    "sensor_msgs/msg/Image": "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\n"
    "uint8 is_bigendian\nuint32 step\nuint8[] data\n" + HEADER + TIME,
    "sensor_msgs/msg/Imu": "std_msgs/Header header\ngeometry_msgs/Quaternion orientation\n"
    "float64[9] orientation_covariance\ngeometry_msgs/Vector3 angular_velocity\n"
    "float64[9] angular_velocity_covariance\ngeometry_msgs/Vector3 linear_acceleration\n"
    "float64[9] linear_acceleration_covariance\n" + QUATERNION + VECTOR + HEADER + TIME,
}
"""Definitions by message type, ROS 2 style."""


@dataclass(frozen=True)
class Structs:
    """A list of structs left where it lies: its first byte, how many, and each struct's base fields (name, type)."""

    start: int
    count: int
    fields: tuple[tuple[str, str], ...]


class FieldReader:
    """Reads the messages of one type; raises ValueError for bytes that do not hold one."""

    def __init__(self, definitions: Definitions, message_type: str, cdr: bool) -> None:
        """Keep the definitions; `cdr` says that messages are CDR, with its header."""
        self._definitions, self._type, self._cdr = definitions, message_type, cdr
        if message_type not in definitions:
            raise ValueError(f"no definition of {message_type}")
        # A type within itself would be a message without end.
        self._check_depth(message_type, ())

    @property
    def aligned(self) -> bool:
        """True where fields are aligned."""
        return self._cdr

    def names(self) -> list[str]:
        """Return the names of the message's fields."""
        return [name for name, _ in self._definitions[self._type][1]]

    def body(self, message: bytes) -> NDArray[np.uint8]:
        """Return the bytes that positions count from."""
        data = np.frombuffer(message, np.uint8)
        if not self._cdr:
            return data
        if len(data) < 4 or (data[0], data[1]) != (0, 1):
            raise ValueError(f"CDR header {bytes(message[:4])!r}, only little-endian (00 01) is read")
        return data[4:]

    def read(self, body: NDArray[np.uint8]) -> dict[str, Any]:
        """Return the fields up to a list of structs, which comes as `Structs` and ends the reading."""
        fields: dict[str, Any] = {}
        position = 0
        for name, kind in self._definitions[self._type][1]:
            fields[name], position = self._value(body, kind, position)
            if isinstance(fields[name], Structs):
                break
        return fields

    def _value(self, body: NDArray[np.uint8], kind: tuple[int, Any], position: int) -> tuple[Any, int]:
        node, detail = kind
        if node == NAME:
            fields = {}
            for name, inner in self._definitions[detail][1]:
                fields[name], position = self._value(body, inner, position)
            return fields, position
        if node == BASE and detail[0] in ("string", "wstring"):
            return self._string(body, position)
        if node == BASE:
            values, position = self._numbers(body, detail[0], 1, position)
            return values[0].item(), position
        inner, count = detail
        if node == SEQUENCE:
            count, position = self._count(body, position)
        return self._list(body, inner, count, position)

    def _list(self, body: NDArray[np.uint8], inner: tuple[int, Any], count: int, position: int) -> tuple[Any, int]:
        if inner[0] == BASE and inner[1][0] in BASE_TYPES:
            return self._numbers(body, inner[1][0], count, position)
        if inner[0] == NAME:
            return Structs(position, count, self.flat(inner[1])), position
        raise ValueError(f"lists of {inner} are not read")

    def _numbers(self, body: NDArray[np.uint8], base: str, count: int, position: int) -> tuple[NDArray[Any], int]:
        if base not in BASE_TYPES:
            raise ValueError(f"fields of type {base} are not read")
        dtype = np.dtype(BASE_TYPES[base])
        if self._cdr:
            position += -position % dtype.itemsize
        end = position + count * dtype.itemsize
        if end > len(body):
            raise ValueError(f"truncated at byte {len(body)} of the message, {end} are needed")
        return body[position:end].view(dtype), end

    def _count(self, body: NDArray[np.uint8], position: int) -> tuple[int, int]:
        values, position = self._numbers(body, "uint32", 1, position)
        return int(values[0]), position

    def _string(self, body: NDArray[np.uint8], position: int) -> tuple[str, int]:
        count, position = self._count(body, position)
        if position + count > len(body):
            raise ValueError(f"truncated at byte {len(body)} of the message, {position + count} are needed")
        text = body[position : position + count].tobytes().rstrip(b"\0")
        return text.decode("utf-8", "replace"), position + count

    def flat(self, struct_type: str) -> tuple[tuple[str, str], ...]:
        """Return the base fields of a struct of fixed size, those of structs within it named `outer.inner`."""
        found: list[tuple[str, str]] = []
        for name, (node, detail) in self._definitions[struct_type][1]:
            if node == NAME:
                found += [(f"{name}.{inner}", base) for inner, base in self.flat(detail)]
            elif node == BASE and detail[0] in BASE_TYPES:
                found.append((name, detail[0]))
            else:
                raise ValueError(f"{struct_type} has a field {name} of no fixed size")
        return tuple(found)

    def _check_depth(self, message_type: str, above: tuple[str, ...]) -> None:
        if message_type in above or message_type not in self._definitions:
            raise ValueError(f"no whole definition of {message_type}")
        for _, (node, detail) in self._definitions[message_type][1]:
            inner = detail[0] if node in (ARRAY, SEQUENCE) else (node, detail)
            if inner[0] == NAME:
                self._check_depth(inner[1], (*above, message_type))


def stamp_ns(header: Mapping[str, Any]) -> int:
    """Return a header's time in nanoseconds."""
    stamp = header["stamp"]
    return int(stamp["sec"]) * 1_000_000_000 + int(stamp["nanosec"])


def to_us(nanoseconds: int) -> int:
    """Return nanoseconds as whole microseconds, rounded to nearest, halves to even (as `numpy.rint` rounds)."""
    whole, rest = divmod(nanoseconds, 1000)
    return whole + (rest > 500 or (rest == 500 and whole % 2 == 1))


PARSE_FAULTS = (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error)
"""What a definition that fits no message of its type raises."""
