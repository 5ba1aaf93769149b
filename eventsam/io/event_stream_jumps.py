"""Long pauses in an Event Stream, as a trailer that other readers pass over.

The format spends a byte per 127 us of pause: 12 TB for a time counted from 1970. So a pause of JUMP_FROM_US and more
(also the one before the first event) is left out between the events and written at the file's end, bit by bit, most
significant first, as reset (0) and overflow (1) bytes. These mean something to other readers only before another event,
and none comes. In order: per pause u64 number of the event after it and u64 us; u32 number of pauses; 8 letters.
"""

import struct

import numpy as np
from numpy.typing import NDArray

JUMP_FROM_US = 1 << 30
"""Pauses from here on (18 minutes, 8 MB of overflow bytes) go to the trailer."""

_MARK = b"esam_gap"
_COUNT = struct.Struct(">I8s")
_ENTRY = np.dtype([("event", ">u8"), ("pause", ">u8")])
_ZERO = 0xFE


class Jumps:
    """Pauses by event, both int64 (N,): what `decode` leaves out of the times."""

    def __init__(self, event: NDArray[np.int64], pause: NDArray[np.int64]) -> None:
        """Keep numbers of events, rising, and what is added from each on."""
        self._event = event
        self._sums = np.concatenate([[0], np.cumsum(pause)])

    def before(self, event: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what is to be added to the times of events by number (N,)."""
        sums: NDArray[np.int64] = self._sums[np.searchsorted(self._event, event, side="right")]
        return sums

    def total(self) -> int:
        """Return what is to be added to the last time."""
        return int(self._sums[-1])


def jump_trailer(jumps: list[tuple[int, int]]) -> bytes:
    """Return the trailer for pauses (number of the event after it, us); nothing where there are none."""
    if not jumps:
        return b""
    plain = np.array(jumps, _ENTRY).tobytes() + _COUNT.pack(len(jumps), _MARK)
    return (np.unpackbits(np.frombuffer(plain, np.uint8)) + np.uint8(_ZERO)).tobytes()


def read_jumps(data: NDArray[np.uint8], start: int) -> tuple[Jumps, int]:
    """Return the pauses of a file whose events start at byte `start`, and where its events end.

    Raises ValueError for a trailer that is damaged.
    """
    nothing = Jumps(np.empty(0, np.int64), np.empty(0, np.int64)), len(data)
    count_from = len(data) - 8 * _COUNT.size
    bits = data[max(count_from, 0) :]
    if count_from < start or bits.min() < _ZERO:
        return nothing
    count, mark = _COUNT.unpack(np.packbits(bits - np.uint8(_ZERO)).tobytes())
    if mark != _MARK:
        return nothing
    end = count_from - 8 * _ENTRY.itemsize * count
    bits = data[max(end, 0) : count_from]
    if end < start or count == 0 or bits.min() < _ZERO:
        raise ValueError(f"the list of {count} pauses that ends at byte {count_from} is damaged")
    entries = np.packbits(bits - np.uint8(_ZERO)).view(_ENTRY)
    event, pause = (entries[name].astype(np.uint64) for name in ("event", "pause"))
    rising = (event[1:] > event[:-1]).all() and event[-1] < 1 << 62
    if not rising or sum(pause.tolist()) >= 1 << 63:
        raise ValueError(f"the list of {count} pauses that ends at byte {count_from} is damaged")
    return Jumps(event.astype(np.int64), pause.astype(np.int64)), end
