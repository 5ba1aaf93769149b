"""AEDAT 3.1 on disk: the packets after the header, and what each type of event in them has.

Layout (little-endian), after iniVation's description of the format: packets of a 28-byte header (i16 type of its
events, i16 source, then i32 bytes per event, place of the time in it, how often the time wrapped, room, number, number
of valid ones) and the events, one after the other. An event starts with u32 whose bit 0 says that it is valid; its time
is 31 bits, continued by the packet's wraps. The origin is the upper left corner.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.io.aedat_imu import imu_from_g_and_degrees
from eventsam.io.recording import Frame, Imu, Triggers

SPECIAL, POLARITY, FRAME, IMU6 = 0, 1, 2, 3
"""Types of events that are read."""

LEAST_BYTES = {SPECIAL: 8, POLARITY: 8, FRAME: 36, IMU6: 36}
"""Bytes of an event by type; frames have their pixels besides."""

_PACKET = struct.Struct("<2h6i")
_FRAME = struct.Struct("<I8i")
_NOT_TRIGGERS = (0, 5)
"""Special events about the clock's wraps and about rows without an event."""
_RISING = (2, 4)
"""Special events of the input pin: it rose, or pulsed; 3 says that it fell."""


Whole = int | np.int64
"""A whole number, of Python or of a compiled function."""


@dataclass(frozen=True)
class Packet:
    """A packet: type and source of its events, where they start, their size and number, and what to add to times."""

    kind: int
    source: int
    offset: int
    event_bytes: int
    count: int
    base: int


def read_packets(data: NDArray[np.uint8], start: int) -> list[Packet]:
    """Follow the packets from byte `start` to the end; raise ValueError where one is cut or impossible."""
    packets = []
    position, end, view = start, len(data), data.data
    while position < end:
        if position + _PACKET.size > end:
            raise ValueError(f"truncated: a packet starts at byte {position}, the file has {end}")
        kind, source, event_bytes, _, wraps, room, count, _ = _PACKET.unpack_from(view, position)
        after = position + _PACKET.size + room * event_bytes
        if kind < 0:
            raise ValueError(f"the packet at byte {position} is compressed, which is not read")
        if not 0 <= count <= room or wraps < 0 or event_bytes < LEAST_BYTES.get(kind, 1):
            raise ValueError(
                f"the packet at byte {position} claims {count} events of type {kind} with {event_bytes} bytes in room "
                f"for {room}, after {wraps} wraps of the clock"
            )
        if after > end:
            raise ValueError(f"truncated: the packet at byte {position} ends at byte {after}, the file has {end}")
        packets.append(Packet(kind, source, position + _PACKET.size, event_bytes, count, wraps << 31))
        position = after
    return packets


@compiled
def measure(data: NDArray[np.uint8], offset: int, event_bytes: int, count: int) -> tuple[int, Whole, Whole]:
    """Return the number of valid events and their smallest and largest time, without what the packet adds."""
    valid = 0
    smallest: Whole = np.int64(1 << 62)
    largest: Whole = np.int64(-(1 << 62))
    for i in range(count):
        place = np.uint64(offset + i * event_bytes)
        if data[place] & 1:
            valid += 1
            t = np.int64(0)
            for byte in range(4):
                t |= np.int64(data[place + np.uint64(4 + byte)]) << (8 * byte)
            if t < smallest:
                smallest = t
            if t > largest:
                largest = t
    return valid, smallest, largest


@compiled
def decode(
    data: NDArray[np.uint8], offset: int, event_bytes: int, count: int, base: int, x: NDArray[np.uint16],
    y: NDArray[np.uint16], times: NDArray[np.int64], p: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Fill columns with the valid polarity events of a packet; return how many there are, writing no more than fit."""
    valid = 0
    for i in range(count):
        place = np.uint64(offset + i * event_bytes)
        if data[place] & 1 == 0:
            continue
        if valid < times.size:
            word, t = np.int64(0), np.int64(0)
            for byte in range(4):
                word |= np.int64(data[place + np.uint64(byte)]) << (8 * byte)
                t |= np.int64(data[place + np.uint64(4 + byte)]) << (8 * byte)
            k = np.uint64(valid)
            x[k], y[k], p[k] = word >> 17 & 0x7FFF, word >> 2 & 0x7FFF, word >> 1 & 1
            times[k] = t + base
        valid += 1
    return valid


def decode_triggers(data: NDArray[np.uint8], packet: Packet) -> Triggers:
    """Return the special events of a packet; `source` is their type, 1 a reset of the clock, 2 to 4 the input pin."""
    words = _columns(data, packet, 2)
    kind = words[:, 0] >> 1 & 0x7F
    kept = (words[:, 0] & 1 == 1) & ~np.isin(kind, _NOT_TRIGGERS)
    edge = np.isin(kind, _RISING)
    t = words[:, 1].astype(np.int64) + packet.base
    return Triggers(t[kept], kind[kept].astype(np.uint8), edge[kept].astype(np.uint8))


def decode_imu(data: NDArray[np.uint8], packet: Packet) -> Imu:
    """Return the inertial samples of a packet; the file has g and degrees per second."""
    words = _columns(data, packet, 8)
    words = words[words[:, 0] & 1 == 1]
    t = words[:, 1].astype(np.int64) + packet.base
    return imu_from_g_and_degrees(t, words[:, 2:].copy().view("<f4"))


def _columns(data: NDArray[np.uint8], packet: Packet, num_words: int) -> NDArray[np.uint32]:
    end = packet.offset + packet.count * packet.event_bytes
    events = data[packet.offset : end].reshape(packet.count, packet.event_bytes)
    return events[:, : 4 * num_words].copy().view("<u4")


def frame_times(data: NDArray[np.uint8], packet: Packet, number: int) -> tuple[bool, int, int]:
    """Return whether a frame of a packet is valid, and start and end of its exposure."""
    info, _, _, start, end, *_ = _FRAME.unpack_from(data.data, packet.offset + number * packet.event_bytes)
    return bool(info & 1), start + packet.base, end + packet.base


def decode_frame(data: NDArray[np.uint8], packet: Packet, number: int) -> Frame:
    """Return a frame: grey or red, green, blue, without alpha, the upper 8 of 16 bits; raise ValueError."""
    first = packet.offset + number * packet.event_bytes
    info, _, _, _, _, width, height, _, _ = _FRAME.unpack_from(data.data, first)
    channels = info >> 1 & 7
    num_bytes = 2 * width * height * channels
    if channels not in (1, 3, 4) or min(width, height) < 1 or num_bytes > packet.event_bytes - _FRAME.size:
        raise ValueError(
            f"the frame at byte {first} of {height}x{width} pixels and {channels} channels needs {num_bytes} bytes, "
            f"{packet.event_bytes - _FRAME.size} are there"
        )
    # Little-endian: the upper byte of each value is the second.
    pixels = data[first + _FRAME.size : first + _FRAME.size + num_bytes].reshape(height, width, channels, 2)[..., 1]
    _, start, end = frame_times(data, packet, number)
    return Frame((start + end) // 2, start, end, pixels[..., :3].transpose(2, 0, 1).copy())
