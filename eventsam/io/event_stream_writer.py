"""Writing Event Streams of the DVS type (`.es`, version 2.0.0)."""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.event_stream_bytes import DVS, EVENT_BYTES, OVERFLOW_US, encode
from eventsam.io.event_stream_jumps import JUMP_FROM_US, jump_trailer

MAGIC = b"Event Stream"

HEADER = struct.Struct("<12s4B2H")
"""Magic, version (3 bytes), type of stream, width, height."""

MAX_SIDE = 65535

_ENCODED_BYTES = 1 << 24
"""Bytes encoded at a time: pauses take a byte per 127 us."""


def write_event_stream(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    """Write events that follow each other in time to a new file.

    Raises ValueError for a sensor side above MAX_SIDE and for times before 0. Other readers see the times without the
    pauses of 18 minutes and more (`event_stream_jumps`), which includes the time before the first event.
    """
    if max(height, width) > MAX_SIDE:
        raise ValueError(f"Event Stream holds sensors up to {MAX_SIDE} pixels a side, not {height}x{width}")
    jumps: list[tuple[int, int]] = []
    num_events = now = 0
    with path.open("wb") as file:
        file.write(HEADER.pack(MAGIC, 2, 0, 0, DVS, width, height))
        for chunk in chunks:
            if not len(chunk):
                continue
            if chunk.t[0] < 0:
                raise ValueError(f"Event Stream holds times from 0 on, event {num_events} is at {chunk.t[0]} us")
            steps = np.diff(chunk.t, prepend=now)
            long = np.flatnonzero(steps >= JUMP_FROM_US)
            jumps += [(num_events + int(number), int(steps[number])) for number in long]
            steps[long] = 0
            for encoded in _encoded(chunk, steps):
                file.write(encoded.tobytes())
            num_events, now = num_events + len(chunk), int(chunk.t[-1])
        file.write(jump_trailer(jumps))


def _encoded(events: Events, steps: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    ends = np.cumsum(steps // OVERFLOW_US + EVENT_BYTES)
    part = ends // _ENCODED_BYTES
    for first, end in _runs(part):
        out = np.empty(int(ends[end - 1] - (ends[first - 1] if first else 0)), np.uint8)
        cut = events.slice(first, end)
        encode(cut.x, cut.y, steps[first:end], cut.p, out)
        yield out


def _runs(labels: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Return first and end of the runs of equal labels."""
    firsts = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))
    return zip(firsts.tolist(), [*firsts[1:].tolist(), len(labels)], strict=True)
