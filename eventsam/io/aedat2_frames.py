"""Frames of DAVIS cameras from the pixel readings of an AEDAT 2.0 file.

A pixel is read twice per frame: after it was reset and after the exposure, which lowers it. With the global shutter all
reset reads come first, with the rolling shutter both kinds come in turns, column by column. Which pixel comes first
depends on the chip, so a frame ends when every pixel was read both ways, and one is given up where a pixel is reset
again before that. Exposure, as jAER measures it: from the last reset read (global shutter) or the first (rolling) to
the first signal read.
"""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.io.recording import Frame

FRAME_COLUMNS = 4
"""What is kept of a frame: first record, the one after the last, start and end of the exposure in us."""

_READINGS = np.uint32(0x80000800)
"""Bits of an address that are 1 and 0 for a pixel reading of known kind."""


class Words(Protocol):
    """The records of a file: addresses (N,) and times (N,) of a block, addresses of a range, the sensor size."""

    height: int
    width: int

    def words(self, place: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return addresses and times of a block."""

    def addresses(self, first: int, end: int) -> NDArray[np.uint32]:
        """Return the addresses of a range of records."""


def find_frames(source: Words, places: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return where the complete frames of a file lie, (N, FRAME_COLUMNS); `places` are those of its blocks."""
    num_pixels = source.height * source.width
    seen = np.zeros((2, num_pixels), np.int64)
    state = np.zeros(8, np.int64)
    state[0] = 1
    found = []
    for place in places:
        addresses, times = source.words(place)
        if not ((addresses & _READINGS) == 0x80000000).any():
            continue
        frames = np.empty((len(addresses) // num_pixels + 1, FRAME_COLUMNS), np.int64)
        count = _find(addresses, times, int(place[0]), source.width, seen, state, frames)
        found.append(frames[:count])
    return np.concatenate(found) if found else np.empty((0, FRAME_COLUMNS), np.int64)


def read_frame(source: Words, entry: NDArray[np.int64]) -> Frame:
    """Decode the frame at an entry of `find_frames`: uint8 (1, H, W), the upper 8 of the 10 bits."""
    addresses = source.addresses(int(entry[0]), int(entry[1]))
    addresses = addresses[(addresses & _READINGS) == 0x80000000]
    column, row = addresses >> 12 & 1023, addresses >> 22 & 511
    inside = (column < source.width) & (row < source.height)
    readings = np.zeros((2, source.height, source.width), np.int64)
    # Rows count from the bottom; columns of readings are not mirrored, unlike those of events.
    kind = addresses >> 10 & 1
    readings[kind[inside], source.height - 1 - row[inside].astype(np.int64), column[inside]] = addresses[inside] & 1023
    image = (np.clip(readings[0] - readings[1], 0, 1023) >> 2).astype(np.uint8)
    start, end = int(entry[2]), int(entry[3])
    return Frame((start + end) // 2, start, end, image[None])


@compiled
def _find(
    addresses: NDArray[np.uint32], times: NDArray[np.int64], first: int, width: int, seen: NDArray[np.int64],
    state: NDArray[np.int64], frames: NDArray[np.int64],
) -> int:  # fmt: skip
    """Follow the readings of a block; return how many frames ended in it.

    `seen` (2, pixels) has the number of the frame that last reset and last read a pixel. `state`: number of the frame,
    how many pixels it reset and read, its first record, first and last reset, first signal, and whether a reset
    followed that.
    """
    count = 0
    num_pixels = seen.shape[1]
    for i in range(addresses.size):
        address = np.int64(addresses[i])
        pixel = (address >> 22 & 511) * width + (address >> 12 & 1023)
        if address & 0x80000800 != 0x80000000 or address >> 12 & 1023 >= width or pixel >= num_pixels:
            continue
        kind = address >> 10 & 1
        if kind == 1 and (state[1] == 0 or seen[1, pixel] == state[0]):
            continue
        if seen[kind, pixel] == state[0]:
            # Reset again before all was read: something was lost, so the frame starts anew.
            state[0] += 1
            state[1:] = 0
        seen[kind, pixel] = state[0]
        if kind == 0:
            if state[1] == 0:
                state[3], state[4] = first + i, times[i]
            state[5] = times[i]
            state[7] = state[2] > 0
            state[1] += 1
        else:
            if state[2] == 0:
                state[6] = times[i]
            state[2] += 1
        if state[1] == num_pixels and state[2] == num_pixels:
            frames[count, 0], frames[count, 1], frames[count, 3] = state[3], first + i + 1, state[6]
            frames[count, 2] = state[4] if state[7] else state[5]
            count += 1
            state[0] += 1
            state[1:] = 0
    return count
