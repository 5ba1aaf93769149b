"""The compiled loops over the bytes of an Event Stream: events there and back.

`kind` is the stream's type, DVS or ATIS. The state between events is the time of the last one.
"""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled

EVENT_BYTES = 5
"""Bytes of an event; what is not one are single bytes that move the clock."""

DVS, ATIS = 1, 2
"""Types of streams that hold change events."""

OVERFLOW_US = 127
"""What an overflow byte of a DVS stream adds to the time."""

_OVERFLOW, _RESET = 0xFF, 0xFE

Whole = int | np.int64
"""A whole number, of Python or of a compiled function."""


@compiled
def scan(
    data: NDArray[np.uint8], position: int, t: Whole, kind: int, max_events: int
) -> tuple[int, Whole, int, Whole, Whole, int]:
    """Read on from a byte until `max_events` change events were seen or the bytes end, perhaps within an event.

    Returns the byte reached, the time there, the number of change events, the times of the first and last of them, and
    the number of exposure measurements.
    """
    count, measurements, end = 0, 0, data.size
    first: Whole = 0
    last: Whole = 0
    while position < end and count < max_events:
        byte = np.int64(data[np.uint64(position)])
        if kind == DVS and byte >= _RESET:
            t += OVERFLOW_US * (byte - _RESET)
            position += 1
        elif kind == ATIS and byte >= 0xFC:
            t += 63 * (byte & 3)
            position += 1
        elif position + EVENT_BYTES > end:
            break
        else:
            t += byte >> kind
            position += EVENT_BYTES
            if kind == ATIS and byte & 1:
                measurements += 1
                continue
            if count == 0:
                first = t
            last = t
            count += 1
    return position, t, count, first, last, measurements


@compiled
def decode(
    data: NDArray[np.uint8], t: Whole, kind: int, x: NDArray[np.uint16], y: NDArray[np.uint16],
    times: NDArray[np.int64], p: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Fill the columns with the change events; return how many there are, writing no more than fit."""
    position, count, end = 0, 0, data.size
    while position < end:
        byte = np.int64(data[np.uint64(position)])
        if kind == DVS and byte >= _RESET:
            t += OVERFLOW_US * (byte - _RESET)
            position += 1
        elif kind == ATIS and byte >= 0xFC:
            t += 63 * (byte & 3)
            position += 1
        elif position + EVENT_BYTES > end:
            break
        else:
            t += byte >> kind
            if kind == DVS or byte & 1 == 0:
                if count < times.size:
                    k, place = np.uint64(count), np.uint64(position)
                    x[k] = np.uint16(data[place + np.uint64(1)]) | np.uint16(data[place + np.uint64(2)]) << 8
                    y[k] = np.uint16(data[place + np.uint64(3)]) | np.uint16(data[place + np.uint64(4)]) << 8
                    times[k] = t
                    p[k] = byte >> (kind - 1) & 1
                count += 1
            position += EVENT_BYTES
    return count


@compiled
def encode(
    x: NDArray[np.uint16], y: NDArray[np.uint16], steps: NDArray[np.int64], p: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Write DVS events, each `steps` us after the one before; `out` has room for 5 bytes and one per overflow each."""
    position = 0
    for i in range(steps.size):
        for _ in range(steps[i] // OVERFLOW_US):
            out[np.uint64(position)] = _OVERFLOW
            position += 1
        place = np.uint64(position)
        out[place] = (steps[i] % OVERFLOW_US) << 1 | np.int64(p[i])
        out[place + np.uint64(1)] = x[i] & 255
        out[place + np.uint64(2)] = x[i] >> 8
        out[place + np.uint64(3)] = y[i] & 255
        out[place + np.uint64(4)] = y[i] >> 8
        position += EVENT_BYTES
