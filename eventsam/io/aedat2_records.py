"""The compiled loops over the records of an AEDAT 1.0 or 2.0 file: the clock, and change events by their layout.

A record is one int64: the address in the upper, the time in the lower 32 bits. `numbers` are those of `Layout.numbers`.
The state between records is the time of the last one, without the file's base.
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
def _clock(word: Whole, jumps: Whole, t: Whole) -> Whole:
    """Return the time of a record after one of time `t`."""
    if jumps and word >> 32 & JUMP == JUMP:
        t += (word >> 44 & 0xFFFF) << (48 if word >> 32 & 1 else 32)
    # The clock counts modulo 2^32: the nearest step to either side.
    step = (word - t) & 0xFFFFFFFF
    return t + (step if step < 1 << 31 else step - (1 << 32))


@compiled
def scan(
    records: NDArray[np.int64], numbers: NDArray[np.int64], t: Whole, base: Whole
) -> tuple[Whole, Whole, Whole, Whole]:
    """Return how many change events there are, their smallest and largest time, and the clock at the end."""
    other, jumps = numbers[6] << 32, numbers[9]
    count = 0
    smallest: Whole = np.int64(0)
    largest: Whole = np.int64(0)
    for word in records:
        t = _clock(word, jumps, t)
        if word & other == 0:
            time = t + base
            if count == 0 or time < smallest:
                smallest = time
            if count == 0 or time > largest:
                largest = time
            count += 1
    return count, smallest, largest, t


@compiled
def decode(
    records: NDArray[np.int64], numbers: NDArray[np.int64], t: Whole, base: Whole, x: NDArray[np.uint16],
    y: NDArray[np.uint16], times: NDArray[np.int64], p: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Fill the columns with the change events, upright; return how many there are, writing no more than fit."""
    y_shift, y_mask, x_shift, x_mask = numbers[0] + 32, numbers[1], numbers[2] + 32, numbers[3]
    p_shift, on, other, height, width, jumps = (
        numbers[4] + 32, numbers[5], numbers[6] << 32, numbers[7], numbers[8], numbers[9]
    )  # fmt: skip
    count = 0
    for word in records:
        t = _clock(word, jumps, t)
        if word & other:
            continue
        if count < times.size:
            column = width - 1 - (word >> x_shift & x_mask)
            row = height - 1 - (word >> y_shift & y_mask)
            k = np.uint64(count)
            x[k] = column if column >= 0 else NO_PIXEL
            y[k] = row if row >= 0 else NO_PIXEL
            times[k] = t + base
            p[k] = (word >> p_shift & 1) == on
        count += 1
    return count


@compiled
def times_of(
    records: NDArray[np.int64], numbers: NDArray[np.int64], t: Whole, base: Whole, times: NDArray[np.int64]
) -> None:
    """Fill in the time of every record, change event or not."""
    for i in range(times.size):
        t = _clock(records[np.uint64(i)], numbers[9], t)
        times[np.uint64(i)] = t + base
