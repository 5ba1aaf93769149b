"""Events in ROS messages: arrays of event structs, and packets of camera bytes.

Structs (dvs_msgs/EventArray, prophesee_event_msgs/EventArray) state x, y, ts (s, ns) and polarity. Packets
(event_camera_msgs/EventPacket) state an `encoding`: `mono`, 64-bit words of polarity (bit 63), y (62-48), x (47-32) and
dt ns (31-0) since `time_base` ns; `libcaer`, pairs of 32-bit words, x (31-17), y (16-2), polarity (1), then us since
`time_base` ns, a step back being a wrap of 2^31 us; `evt3`, the camera's own words, whose times are the sensor's and
whose decoder state goes on from packet to packet. Times become whole us, rounded to nearest, halves to even.
"""

from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import COLUMNS
from eventsam.io.block_recording import NO_PIXEL, Columns
from eventsam.io.evt3 import Evt3State, decode_words
from eventsam.io.rosbag_fields import BASE_TYPES, FieldReader, Structs

ENCODINGS = ("mono", "evt3", "libcaer")
SKIP, X, Y, SECONDS, NANOSECONDS, POLARITY = range(6)
ROLES = {"x": X, "y": Y, "ts.sec": SECONDS, "ts.nanosec": NANOSECONDS, "polarity": POLARITY}
LIBCAER_WRAP_NS = (1 << 31) * 1000
STATE_SIZE = len(astuple(Evt3State()))


class EventMessages:
    """Decodes the event messages of one topic in order; raises ValueError for a message that cannot be read.

    `state` is what an EVT3 decoder carries from message to message, as integers (STATE_SIZE,).
    """

    def __init__(self, reader: FieldReader) -> None:
        """Keep the reader of the messages' fields."""
        self._reader = reader
        self._packets = "encoding" in reader.names()
        self.state = astuple(Evt3State())

    def decode(self, message: bytes) -> tuple[tuple[int, int], Columns]:
        """Return a message's sensor (height, width) as it states it, and its events."""
        body = self._reader.body(message)
        fields = self._reader.read(body)
        size = int(fields["height"]), int(fields["width"])
        return size, self._decode_packet(fields) if self._packets else self._decode_structs(body, fields["events"])

    def _decode_structs(self, body: NDArray[np.uint8], events: Structs) -> Columns:
        missing = ROLES.keys() - {name for name, _ in events.fields}
        if missing:
            raise ValueError(f"event structs without {', '.join(sorted(missing))}")
        dtypes = [np.dtype(BASE_TYPES[base]) for _, base in events.fields]
        sizes = np.array([dtype.itemsize for dtype in dtypes], np.int64)
        if events.count * int(sizes.sum()) > len(body) - events.start:
            raise ValueError(f"truncated: {events.count} events stated, {len(body) - events.start} bytes are there")
        roles = np.array([ROLES.get(name, SKIP) for name, _ in events.fields], np.int64)
        signed = np.array([dtype.kind == "i" for dtype in dtypes])
        x, y, t, p = (np.empty(events.count, dtype) for dtype in COLUMNS.values())
        if _read_structs(body, events.start, self._reader.aligned, sizes, roles, signed, x, y, t, p) < 0:
            raise ValueError(f"truncated: {events.count} events stated, {len(body) - events.start} bytes are there")
        return x, y, t, p

    def _decode_packet(self, fields: dict[str, Any]) -> Columns:
        encoding, data, base = fields["encoding"], fields["events"], int(fields["time_base"])
        if encoding not in ENCODINGS:
            raise ValueError(f"packets of encoding {encoding!r}, can be read: {', '.join(ENCODINGS)}")
        if fields["is_bigendian"]:
            raise ValueError("packets of big-endian words")
        word = np.dtype("<u2" if encoding == "evt3" else "<u8")
        if data.size % word.itemsize:
            raise ValueError(f"a packet of {data.size} bytes, not whole words of {word.itemsize}")
        words = np.frombuffer(data.tobytes(), word)
        if encoding == "evt3":
            columns, state = decode_words(words, Evt3State(*self.state))
            self.state = astuple(state)
            return columns
        if base >= 1 << 62:
            raise ValueError(f"time_base of {base} ns")
        return _mono(words, base) if encoding == "mono" else _libcaer(words, base)


def _mono(words: NDArray[np.uint64], base: int) -> Columns:
    x = (words >> 32).astype(np.uint16)
    y = (words >> 48 & 0x7FFF).astype(np.uint16)
    nanoseconds = (words & 0xFFFFFFFF).astype(np.int64) + base
    return x, y, round_to_us(nanoseconds), (words >> 63).astype(np.uint8)


def _libcaer(words: NDArray[np.uint64], base: int) -> Columns:
    address, microseconds = words & 0xFFFFFFFF, (words >> 32).astype(np.int64)
    if (microseconds >= 1 << 31).any():
        raise ValueError("a packet with a negative time")
    num_wraps = np.cumsum(np.concatenate([[0], np.diff(microseconds) < 0])) if len(words) else microseconds
    if len(words) and int(num_wraps[-1]) > 1 << 16:
        raise ValueError("a packet whose time goes back again and again")
    nanoseconds = base + microseconds * 1000 + num_wraps[: len(words)] * LIBCAER_WRAP_NS
    x, y = (address >> 17).astype(np.uint16), (address >> 2 & 0x7FFF).astype(np.uint16)
    return x, y, round_to_us(nanoseconds), (address >> 1 & 1).astype(np.uint8)


def round_to_us(nanoseconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ns as whole us, halves to even; exact for any int64 (a float would lose today's nanoseconds)."""
    whole, rest = np.divmod(nanoseconds, 1000)
    return np.asarray(whole + ((rest > 500) | ((rest == 500) & (whole & 1 == 1))), np.int64)


@compiled
def _read_structs(
    body: NDArray[np.uint8], start: int, aligned: bool, sizes: NDArray[np.int64], roles: NDArray[np.int64],
    signed: NDArray[np.bool_], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Read structs of base fields into columns; return the byte behind the last, -1 where the bytes end before."""
    position = start
    for i in range(t.size):
        seconds, nanoseconds = np.int64(0), np.int64(0)
        for field in range(sizes.size):
            size = sizes[field]
            if aligned:
                position += (size - position % size) % size
            if position + size > body.size:
                return -1
            value = np.int64(0)
            for byte in range(size):
                value |= np.int64(body[position + byte]) << np.int64(8 * byte)
            if signed[field] and size < 8 and value >> np.int64(8 * size - 1):
                value -= np.int64(1) << np.int64(8 * size)
            position += size
            role = roles[field]
            if role == SECONDS:
                seconds = value
            elif role == NANOSECONDS:
                nanoseconds = value
            elif role == POLARITY:
                p[i] = value != 0
            elif role == X:
                x[i] = value if 0 <= value < NO_PIXEL else NO_PIXEL
            elif role == Y:
                y[i] = value if 0 <= value < NO_PIXEL else NO_PIXEL
        whole = nanoseconds // 1000
        rest = nanoseconds - whole * 1000
        t[i] = seconds * 1_000_000 + whole + (rest > 500 or (rest == 500 and whole & 1 == 1))
    return position
