"""What the packets of an AEDAT 4 file hold: events, frames, inertial samples and triggers, from decompressed bytes.

After iniVation's FlatBuffers schemas. Every function raises one of `aedat4_packets.FAULTS` for a damaged packet.
"""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.io.aedat_imu import imu_from_g_and_degrees
from eventsam.io.block_recording import NO_PIXEL
from eventsam.io.flatbuffer import Field, Root
from eventsam.io.recording import Frame, Imu, Triggers

EVENT_BYTES = 16
"""An event: i64 time (us), i16 x, i16 y, u8 polarity, 3 bytes of nothing."""

CHANNELS_BY_FORMAT = {0: 1, 16: 3, 24: 4}
"""Pixel formats by number: grey, BGR, BGRA (the OpenCV type codes)."""

RISING = (1, 3, 4, 6, 8)
"""Triggers that start something: external and generated rising edges, pulses, start of a frame and of an exposure.

All types: 0 reset of the clock; 1 rising, 2 falling edge, 3 pulse at the input; 4 rising, 5 falling edge, generated; 6
start, 7 end of a frame; 8 start, 9 end of an exposure.
"""


def event_bytes(payload: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the bytes of the events of a packet, EVENT_BYTES each."""
    start, count = Root(payload, b"EVTS").vector(0, EVENT_BYTES)
    return payload[start : start + EVENT_BYTES * count]


def event_times(events: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the times of events given as bytes, us (N,)."""
    return events.reshape(-1, EVENT_BYTES)[:, :8].copy().view("<i8")[:, 0]


@compiled
def decode_events(
    events: NDArray[np.uint8], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Fill columns of N events from their bytes (16 N); negative coordinates become NO_PIXEL."""
    for i in range(t.size):
        place = np.uint64(i) * np.uint64(16)
        time = np.uint64(0)
        for byte in range(8):
            time |= np.uint64(events[place + np.uint64(byte)]) << np.uint64(8 * byte)
        t[i] = np.int64(time)
        column = np.uint16(events[place + np.uint64(8)]) | np.uint16(events[place + np.uint64(9)]) << np.uint16(8)
        row = np.uint16(events[place + np.uint64(10)]) | np.uint16(events[place + np.uint64(11)]) << np.uint16(8)
        x[i] = column if column < 32768 else NO_PIXEL
        y[i] = row if row < 32768 else NO_PIXEL
        p[i] = events[place + np.uint64(12)] != 0


def decode_frame(payload: NDArray[np.uint8]) -> Frame:
    """Return the frame of a packet; colours come out in red, green, blue order, without alpha."""
    root = Root(payload, b"FRME")
    pixel_format = root.scalar(5, "i1")
    width, height = (root.scalar(slot, "<i2") for slot in (6, 7))
    channels = CHANNELS_BY_FORMAT.get(pixel_format)
    if channels is None:
        raise ValueError(f"frame of pixel format {pixel_format}, allowed: {', '.join(map(str, CHANNELS_BY_FORMAT))}")
    first, size = root.vector(10, 1)
    if width < 1 or height < 1 or size != width * height * channels:
        raise ValueError(f"frame of {height}x{width} pixels and {channels} channels holds {size} bytes")
    pixels = payload[first : first + size].reshape(height, width, channels)
    start, end = _exposure(root)
    planes = (pixels[..., 2::-1] if channels > 1 else pixels).transpose(2, 0, 1)
    # A copy in any case: a view would keep the whole file open.
    return Frame((start + end) // 2, start, end, planes.copy())


def _exposure(root: Root) -> tuple[int, int]:
    # Every known recorder states start and end. Else the first time with a duration is the start (as dv-processing 2.0
    # writes it), and alone it is the middle (as the first version of the format has it).
    time, start, end, duration = (root.scalar(slot, "<i8") for slot in (0, 3, 4, 11))
    if end >= start > 0:
        return start, end
    return time, time + max(duration, 0)


def decode_imu(payload: NDArray[np.uint8]) -> Imu:
    """Return the samples of a packet; the file has g and degrees per second."""
    axes = [Field(slot, "<f4") for slot in (2, 3, 4, 5, 6, 7)]
    t, *columns = Root(payload, b"IMUS").tables(0, [Field(0, "<i8"), *axes])
    return imu_from_g_and_degrees(t.astype(np.int64), np.stack(columns, axis=1))


def decode_triggers(payload: NDArray[np.uint8]) -> Triggers:
    """Return the triggers of a packet; `source` is the file's type of trigger (see RISING)."""
    t, kind = Root(payload, b"TRIG").tables(0, [Field(0, "<i8"), Field(1, "i1")])
    return Triggers(t.astype(np.int64), kind.astype(np.uint8), np.isin(kind, RISING).astype(np.uint8))
