"""EVT 2.1: 64-bit words of up to 32 events of one row, time and polarity; decoded and encoded, in both word orders.

Source: Prophesee, "EVT 2.1 Format" (docs.prophesee.ai). Bits 63-60 are a word's type. The IMX636 sends the two 32-bit
halves swapped (`endianness=legacy`). The state between words is the time of the last TIME_HIGH in us with its loops of
2^34 us (-1 before the first), and whether the halves are swapped.
"""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.io.evt2 import CD_ON, EXT_TRIGGER, HIGH_MASK, LOW_BITS, TIME_HIGH, later_base, next_high, num_time_words
from eventsam.io.prophesee_words import WordCodec

BLOCK_WORDS = 1 << 16
"""512 KiB: usually 100,000 to 200,000 events, at most 2 million."""

DE_BRUIJN = 0x077CB531
"""Times a power of two below 2^32 its bits 31-27 differ for each (Leiserson, Prokop, Randall 1998)."""
BIT_NUMBERS = np.zeros(32, np.uint8)
BIT_NUMBERS[(DE_BRUIJN << np.arange(32) >> 27) & 31] = np.arange(32)


@compiled
def _in_order(word: np.uint64, swapped: bool) -> np.uint64:
    return (word >> np.uint64(32)) | (word << np.uint64(32)) if swapped else word


@compiled
def _num_ones(mask: np.uint32) -> np.uint32:
    """Count the bits of 32 (Warren, Hacker's Delight, 5-1)."""
    pairs = mask - ((mask >> 1) & 0x55555555)
    fours = (pairs & 0x33333333) + ((pairs >> 2) & 0x33333333)
    eights = (fours + (fours >> 4)) & 0x0F0F0F0F
    return np.uint32(((eights * 0x01010101) & 0xFFFFFFFF) >> 24)


@compiled
def _scan(words: NDArray[np.uint64], state: NDArray[np.int64], found: NDArray[np.int64]) -> None:
    base, swapped = state[0], state[1] != 0
    lowest, highest = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    count, num_triggers = np.int64(0), np.int64(0)
    for i in range(words.size):
        word = _in_order(words[i], swapped)
        head, mask = np.uint32(word >> np.uint64(32)), np.uint32(word & np.uint64(0xFFFFFFFF))
        kind = head >> 28
        if kind <= CD_ON:
            if base < 0 or mask == 0:
                continue
            time = base + np.int64((head >> 22) & 63)
            count += _num_ones(mask)
            lowest, highest = min(lowest, time), max(highest, time)
        elif kind == TIME_HIGH:
            base = later_base(base, np.int64(head & HIGH_MASK))
        elif kind == EXT_TRIGGER and base >= 0:
            num_triggers += 1
    state[0] = base
    found[0], found[1], found[2], found[3] = count, lowest, highest, num_triggers


@compiled
def _decode(
    words: NDArray[np.uint64],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> int:
    base, swapped = state[0], state[1] != 0
    n, size = np.uint64(0), np.uint64(t.size)
    for i in range(words.size):
        word = _in_order(words[i], swapped)
        head, mask = np.uint32(word >> np.uint64(32)), np.int64(word & np.uint64(0xFFFFFFFF))
        kind = head >> 28
        if kind <= CD_ON:
            if base < 0:
                continue
            column, row, time = (head >> 11) & 0x7FF, head & 0x7FF, base + np.int64((head >> 22) & 63)
            while mask and n < size:
                lowest = mask & -mask
                bit = BIT_NUMBERS[np.uint64(((lowest * DE_BRUIJN) >> 27) & 31)]
                x[n], y[n], t[n], p[n] = column + bit, row, time, kind
                n, mask = n + np.uint64(1), mask ^ lowest
        elif kind == TIME_HIGH:
            base = later_base(base, np.int64(head & HIGH_MASK))
    return int(n)


@compiled
def _triggers(
    words: NDArray[np.uint64],
    state: NDArray[np.int64],
    t: NDArray[np.int64],
    source: NDArray[np.uint8],
    edge: NDArray[np.uint8],
) -> int:
    base, swapped, n = state[0], state[1] != 0, 0
    for i in range(words.size):
        head = np.uint32(_in_order(words[i], swapped) >> np.uint64(32))
        kind = head >> 28
        if kind == TIME_HIGH:
            base = later_base(base, np.int64(head & HIGH_MASK))
        elif kind == EXT_TRIGGER and base >= 0 and n < t.size:
            t[n], source[n], edge[n] = base + np.int64((head >> 22) & 63), (head >> 8) & 31, head & 1
            n += 1
    return n


_WORD = np.dtype("<u8")
CODEC = WordCodec("evt21", _WORD, BLOCK_WORDS, (-1, 0), _scan, _decode, _triggers)
LEGACY_CODEC = WordCodec("evt21_legacy", _WORD, BLOCK_WORDS, (-1, 1), _scan, _decode, _triggers)


def is_legacy(words: NDArray[np.uint64]) -> bool:
    """Tell from the first words (N,) whether their halves are swapped, for files whose header does not say.

    TIME_HIGH words decide: one half holds the type 8 and the time, the other is empty. A mask of pixels looks like that
    only for an event at column 0, row 0. Where there is none, the half that holds more valid types is the head.
    """
    halves = words.view(np.uint32).reshape(-1, 2)
    votes = [_num_time_high(halves[:, head], halves[:, 1 - head]) for head in (0, 1)]
    if votes[0] == votes[1]:
        votes = [int(np.isin(halves[:, head] >> 28, (0, 1, 8, 10, 14, 15)).sum()) for head in (0, 1)]
    return votes[0] > votes[1]


def _num_time_high(head: NDArray[np.uint32], rest: NDArray[np.uint32]) -> int:
    return int(np.count_nonzero((head >> 28 == TIME_HIGH) & (rest == 0)))


class Evt21Encoder:
    """Events to EVT 2.1 words, piece by piece; `swapped` puts the halves in the IMX636's order."""

    def __init__(self, swapped: bool) -> None:
        """Start before the first TIME_HIGH."""
        self._state, self._swapped = np.array([-1], np.int64), swapped

    def __call__(
        self, x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64], p: NDArray[np.uint8]
    ) -> NDArray[np.uint64]:
        """Return the words of events that follow those before; t >= 0, x and y below 2048."""
        words = np.empty(len(t) + num_time_words(t, int(self._state[0])), np.uint64)
        words = words[: _encode(x, y, t, p, self._state, words)]
        return (
            np.ascontiguousarray(words.view(np.uint32).reshape(-1, 2)[:, ::-1]).view(np.uint64)[:, 0]
            if self._swapped
            else words
        )


@compiled
def _encode(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    state: NDArray[np.int64],
    words: NDArray[np.uint64],
) -> int:
    high, n, i = state[0], 0, 0
    while i < t.size:
        wanted = t[i] >> LOW_BITS
        while high != wanted:
            high = next_high(high, wanted, np.int64(HIGH_MASK))
            words[n] = np.uint64((TIME_HIGH << 28) | (high & HIGH_MASK)) << np.uint64(32)
            n += 1
        first, base = i, np.int64(x[i]) & ~31
        mask = np.int64(0)
        # Events of one word come back in order of x: so only an ascending run may share one.
        while i < t.size and t[i] == t[first] and y[i] == y[first] and p[i] == p[first] and x[i] & ~31 == base:
            if i > first and x[i] <= x[i - 1]:
                break
            mask |= np.int64(1) << (np.int64(x[i]) & 31)
            i += 1
        head = (np.int64(p[first]) << 28) | ((t[first] & 63) << 22) | (base << 11) | np.int64(y[first])
        words[n] = (np.uint64(head) << np.uint64(32)) | np.uint64(mask)
        n += 1
    state[0] = high
    return n
