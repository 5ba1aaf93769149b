"""EVT 2.0: 32-bit words, one event each, the high part of the time in words of its own; decoded and encoded.

Source: Prophesee, "EVT 2.0 Format" (docs.prophesee.ai). Bits 31-28 are a word's type. The state between words is the
time of the last TIME_HIGH in us with its loops of 2^34 us (4.8 hours), -1 before the first.
"""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.io.prophesee_words import WordCodec

CD_ON, TIME_HIGH, EXT_TRIGGER = 1, 8, 10
START = (-1,)
BLOCK_WORDS = 1 << 17
"""512 KiB, at most 131072 events."""

PIECE = 32
LOW_BITS, HIGH_BITS = 6, 28
"""Bits of the time in an event, and in TIME_HIGH."""
HIGH_MASK = (1 << HIGH_BITS) - 1


@compiled
def later_base(base: np.int64, high: np.int64) -> np.int64:
    """Return the time of a TIME_HIGH of 28 bits after that of the one before (-1: none); a fall by half is a loop."""
    if base < 0:
        return high << LOW_BITS
    loop, before = base >> (LOW_BITS + HIGH_BITS), (base >> LOW_BITS) & HIGH_MASK
    if before - high > HIGH_MASK >> 1:
        loop += 1
    return (loop << (LOW_BITS + HIGH_BITS)) | (high << LOW_BITS)


@compiled
def _scan(words: NDArray[np.uint32], state: NDArray[np.int64], found: NDArray[np.int64]) -> None:
    if not _scan_in_order(words, state, found):
        _scan_any(words, state, found)


@compiled
def _scan_in_order(words: NDArray[np.uint32], state: NDArray[np.int64], found: NDArray[np.int64]) -> bool:
    """Scan words whose TIME_HIGH never falls, else return False: low bits matter at the first and last one only."""
    base, i, end, piece = state[0], np.uint64(0), np.uint64(words.size), np.uint64(PIECE)
    count, counted, num_triggers, start = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    spans = np.full((2, 3), -1)
    while i < end:
        if base >= 0 and i + piece <= end and _all_events(words, i):
            count, i = count + PIECE, i + piece
            continue
        stop = min(i + piece, end)
        while i < stop:
            word = words[i]
            if word >> 28 <= CD_ON:
                count += base >= 0
            elif word >> 28 == TIME_HIGH:
                later = later_base(base, np.int64(word & HIGH_MASK))
                if later < base:
                    return False
                if later > base:
                    if count != counted:
                        _note_span(spans, base, start, np.int64(i))
                    counted, start, base = count, np.int64(i), later
            elif word >> 28 == EXT_TRIGGER:
                num_triggers += base >= 0
            i += np.uint64(1)
    if count != counted:
        _note_span(spans, base, start, np.int64(words.size))
    if count:
        found[1], found[2] = _extremes(words, spans)
    state[0], found[0], found[3] = base, count, num_triggers
    return True


@compiled
def _note_span(spans: NDArray[np.int64], base: np.int64, start: np.int64, end: np.int64) -> None:
    """Keep the first and the last span of words (base, start, end) whose events share the high part of their time."""
    spans[1, 0], spans[1, 1], spans[1, 2] = base, start, end
    if spans[0, 0] < 0:
        spans[0] = spans[1]


@compiled
def _extremes(words: NDArray[np.uint32], spans: NDArray[np.int64]) -> tuple[np.int64, np.int64]:
    """Return the smallest time of the first span and the largest of the last."""
    low_min, low_max = np.int64(63), np.int64(0)
    for word in words[spans[0, 1] : spans[0, 2]]:
        if word >> 28 <= CD_ON:
            low_min = min(low_min, np.int64((word >> 22) & 63))
    for word in words[spans[1, 1] : spans[1, 2]]:
        if word >> 28 <= CD_ON:
            low_max = max(low_max, np.int64((word >> 22) & 63))
    return spans[0, 0] + low_min, spans[1, 0] + low_max


@compiled
def _scan_any(words: NDArray[np.uint32], state: NDArray[np.int64], found: NDArray[np.int64]) -> None:
    base = state[0]
    lowest, highest = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    count, num_triggers = np.int64(0), np.int64(0)
    # Within one TIME_HIGH the smallest and largest of six bits are enough.
    low_min, low_max = np.int64(63), np.int64(0)
    counted = np.int64(0)
    for i in range(words.size):
        word = words[i]
        kind = word >> 28
        if kind <= CD_ON:
            low = np.int64((word >> 22) & 63)
            count += 1
            low_min, low_max = min(low_min, low), max(low_max, low)
        elif kind == TIME_HIGH:
            if base < 0:
                count = np.int64(0)
            if count != counted:
                lowest, highest = min(lowest, base + low_min), max(highest, base + low_max)
            counted, low_min, low_max = count, np.int64(63), np.int64(0)
            base = later_base(base, np.int64(word & HIGH_MASK))
        elif kind == EXT_TRIGGER and base >= 0:
            num_triggers += 1
    if base < 0:
        count = np.int64(0)
    if count != counted:
        lowest, highest = min(lowest, base + low_min), max(highest, base + low_max)
    state[0] = base
    found[0], found[1], found[2], found[3] = count, lowest, highest, num_triggers


@compiled
def _decode(
    words: NDArray[np.uint32],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> int:
    base, n, size = state[0], np.uint64(0), np.uint64(t.size)
    i, end, piece = np.uint64(0), np.uint64(words.size), np.uint64(PIECE)
    while i < end and n < size:
        if base >= 0 and i + piece <= end and n + piece <= size and _all_events(words, i):
            for k in range(piece):
                word = words[i + k]
                x[n + k], y[n + k], p[n + k] = (word >> 11) & 0x7FF, word & 0x7FF, word >> 28
                t[n + k] = base + np.int64((word >> 22) & 63)
            i, n = i + piece, n + piece
            continue
        last = min(i + piece, end)
        while i < last and n < size:
            word = words[i]
            i += np.uint64(1)
            if word >> 28 == TIME_HIGH:
                base = later_base(base, np.int64(word & HIGH_MASK))
            elif word >> 28 <= CD_ON and base >= 0:
                x[n], y[n], p[n] = (word >> 11) & 0x7FF, word & 0x7FF, word >> 28
                t[n] = base + np.int64((word >> 22) & 63)
                n += np.uint64(1)
    return int(n)


@compiled
def _all_events(words: NDArray[np.uint32], first: np.uint64) -> bool:
    """Return whether PIECE words hold events only: those need no branches, and the processor takes many at once."""
    together = np.uint32(0)
    for k in range(np.uint64(PIECE)):
        together |= words[first + k]
    return bool(together < 1 << 29)


@compiled
def _triggers(
    words: NDArray[np.uint32],
    state: NDArray[np.int64],
    t: NDArray[np.int64],
    source: NDArray[np.uint8],
    edge: NDArray[np.uint8],
) -> int:
    base, n = state[0], 0
    for i in range(words.size):
        word = words[i]
        kind = word >> 28
        if kind == TIME_HIGH:
            base = later_base(base, np.int64(word & HIGH_MASK))
        elif kind == EXT_TRIGGER and base >= 0 and n < t.size:
            t[n], source[n], edge[n] = base + np.int64((word >> 22) & 63), (word >> 8) & 31, word & 1
            n += 1
    return n


CODEC = WordCodec("evt2", np.dtype("<u4"), BLOCK_WORDS, START, _scan, _decode, _triggers)


class Evt2Encoder:
    """Events to EVT 2.0 words, piece by piece."""

    def __init__(self) -> None:
        """Start before the first TIME_HIGH."""
        self._state = np.array([-1], np.int64)

    def __call__(
        self, x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64], p: NDArray[np.uint8]
    ) -> NDArray[np.uint32]:
        """Return the words of events that follow those before; t >= 0, x and y below 2048."""
        words = np.empty(len(t) + num_time_words(t, int(self._state[0])), np.uint32)
        return words[: _encode(x, y, t, p, self._state, words)]


def num_time_words(t: NDArray[np.int64], high: int) -> int:
    """Return an upper bound of the TIME_HIGH words that times (N,) need after one of `high` (-1: none)."""
    highs = t >> LOW_BITS
    loops = int(highs[-1] >> HIGH_BITS) - (max(high, 0) >> HIGH_BITS)
    return int(np.count_nonzero(np.diff(highs))) + 2 * loops + 2


@compiled
def next_high(high: np.int64, wanted: np.int64, mask: np.int64) -> np.int64:
    """Return the TIME_HIGH (with loops) to write after `high` (-1: none) on the way to `wanted`.

    Readers count a loop where the field falls by about its whole range: so a pause of several loops passes through
    the last and the first value of each.
    """
    if wanted & ~mask == (0 if high < 0 else high & ~mask):
        return wanted
    end = high | mask if high >= 0 else np.int64(-1)
    return end if high != end else end + 1


@compiled
def _encode(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    state: NDArray[np.int64],
    words: NDArray[np.uint32],
) -> int:
    high, n = state[0], 0
    for i in range(t.size):
        wanted = t[i] >> LOW_BITS
        while high != wanted:
            high = next_high(high, wanted, np.int64(HIGH_MASK))
            words[n] = (TIME_HIGH << 28) | (high & HIGH_MASK)
            n += 1
        low = np.int64(t[i] & 63)
        words[n] = (np.int64(p[i]) << 28) | (low << 22) | (np.int64(x[i]) << 11) | np.int64(y[i])
        n += 1
    state[0] = high
    return n
