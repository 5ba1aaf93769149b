"""The compiled loops over the records of an AEDAT 1.0 or 2.0 file: the clock, and change events by their layout.

`numbers` are those of `Layout.numbers`. The state between records is the time of the last one, without the file's base.
"""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.io.block_recording import NO_PIXEL

Whole = int | np.int64
"""A whole number, of Python or of a compiled function."""

JUMP = 0xF0000C00
"""Bits of a word that advances the clock: an inertial sample of type 7, which no camera sends and jAER passes over.

Only files written here have them, where the time between two events is too long for the format's 32 bits. Bits 27-12
are what to add, times 2^32 us, or times 2^48 us where bit 0 is set.
"""


@compiled
def _address(data: NDArray[np.uint8], place: Whole, record_bytes: Whole) -> Whole:
    address = np.int64(data[np.uint64(place)]) << 8 | np.int64(data[np.uint64(place + 1)])
    if record_bytes == 8:
        address = address << 16 | np.int64(data[np.uint64(place + 2)]) << 8 | np.int64(data[np.uint64(place + 3)])
    return address


@compiled
def _clock(data: NDArray[np.uint8], end: Whole, address: Whole, jumps: Whole, t: Whole) -> Whole:
    """Return the time of the record that ends at byte `end`, after one of time `t`."""
    if jumps and address & JUMP == JUMP:
        t += (address >> 12 & 0xFFFF) << (48 if address & 1 else 32)
    raw = np.int64(data[np.uint64(end - 4)]) << 24 | np.int64(data[np.uint64(end - 3)]) << 16
    raw |= np.int64(data[np.uint64(end - 2)]) << 8 | np.int64(data[np.uint64(end - 1)])
    # The clock counts modulo 2^32: the nearest step to either side.
    step = (raw - t) & 0xFFFFFFFF
    return t + (step if step < 1 << 31 else step - (1 << 32))


@compiled
def scan(
    data: NDArray[np.uint8], numbers: NDArray[np.int64], t: Whole, base: Whole
) -> tuple[Whole, Whole, Whole, Whole]:
    """Return how many change events there are, their smallest and largest time, and the clock at the end."""
    other, record_bytes, jumps = numbers[6], numbers[9], numbers[10]
    count = 0
    smallest: Whole = np.int64(0)
    largest: Whole = np.int64(0)
    for i in range(data.size // record_bytes):
        place = i * record_bytes
        address = _address(data, place, record_bytes)
        t = _clock(data, place + record_bytes, address, jumps, t)
        if address & other == 0:
            time = t + base
            if count == 0 or time < smallest:
                smallest = time
            if count == 0 or time > largest:
                largest = time
            count += 1
    return count, smallest, largest, t


@compiled
def decode(
    data: NDArray[np.uint8], numbers: NDArray[np.int64], t: Whole, base: Whole, x: NDArray[np.uint16],
    y: NDArray[np.uint16], times: NDArray[np.int64], p: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Fill the columns with the change events, upright; return how many there are, writing no more than fit."""
    y_shift, y_mask, x_shift, x_mask, p_shift, on = (
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
    )
    other, height, width, record_bytes, jumps = numbers[6], numbers[7], numbers[8], numbers[9], numbers[10]
    count = 0
    for i in range(data.size // record_bytes):
        place = i * record_bytes
        address = _address(data, place, record_bytes)
        t = _clock(data, place + record_bytes, address, jumps, t)
        if address & other:
            continue
        if count < times.size:
            column = width - 1 - (address >> x_shift & x_mask)
            row = height - 1 - (address >> y_shift & y_mask)
            k = np.uint64(count)
            x[k] = column if column >= 0 else NO_PIXEL
            y[k] = row if row >= 0 else NO_PIXEL
            times[k] = t + base
            p[k] = (address >> p_shift & 1) == on
        count += 1
    return count


@compiled
def times_of(
    data: NDArray[np.uint8], numbers: NDArray[np.int64], t: Whole, base: Whole, times: NDArray[np.int64]
) -> None:
    """Fill in the time of every record, change event or not."""
    record_bytes, jumps = numbers[9], numbers[10]
    for i in range(times.size):
        place = i * record_bytes
        t = _clock(data, place + record_bytes, _address(data, place, record_bytes), jumps, t)
        times[i] = t + base
