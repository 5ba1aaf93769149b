"""EVT 3.0: 16-bit words that each change one part of an event's address or time, decoded.

Source: Prophesee, "EVT 3.0 Format" (docs.prophesee.ai). Bits 15-12 are a word's type. The decoder remembers time,
row and vector base as int64 (5,): time of the last TIME_HIGH in us with its loops of 2^24 us (-1 before the first), low
12 bits of the time, row, column and polarity of the next vector word.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.io.block_recording import Columns
from eventsam.io.prophesee_words import WordCodec

ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8, TIME_LOW, TIME_HIGH, EXT_TRIGGER = 0, 2, 3, 4, 5, 6, 8, 10
RARE_KINDS = 1 << VECT_BASE_X | 1 << VECT_12 | 1 << VECT_8 | 1 << TIME_HIGH
START = (-1, 0, 0, 0, 0)
BLOCK_WORDS = 1 << 18
"""512 KiB: 100,000 to 200,000 events of usual scenes."""

HALF_LOOP = 2048
"""TIME_HIGH falling by more than this, of 4096, is a new loop of 16.8 s; by less, time going back."""


@dataclass(frozen=True)
class Evt3State:
    """What the words so far have left to the next: time of the last TIME_HIGH (-1: none yet), row, vector base."""

    base_us: int = -1
    low_us: int = 0
    row: int = 0
    vector_x: int = 0
    vector_p: int = 0


def decode_words(words: NDArray[np.uint16], state: Evt3State | None = None) -> tuple[Columns, Evt3State]:
    """Decode a piece of a stream, as messages carry it: return columns x, y, t (us), p and the state after it.

    `words` (N,) uint16 in native order; `state` is what the piece before returned, None at the start. Times count
    from the sensor's own zero. Events before the first TIME_HIGH have no time and are left out.
    """
    # As the words of files are flagged, so that the loops are compiled once.
    words = np.ascontiguousarray(words, np.uint16).view()
    words.flags.writeable = words.flags.aligned = False
    before = START if state is None else (state.base_us, state.low_us, state.row, state.vector_x, state.vector_p)
    after, found = np.array(before, np.int64), np.zeros(4, np.int64)
    scan_words(words, after, found)
    x, y, t, p = (np.empty(found[0], kind) for kind in (np.uint16, np.uint16, np.int64, np.uint8))
    _decode(words, np.array(before, np.int64), x, y, t, p)
    return (x, y, t, p), Evt3State(*(int(value) for value in after))


def scan_words(words: NDArray[np.uint16], state: NDArray[np.int64], found: NDArray[np.int64]) -> None:
    """Move the state past the words; write number of events, smallest and largest time, number of triggers."""
    _scan(words, _num_events_of_words(), state, found)


@cache
def _num_events_of_words() -> NDArray[np.uint8]:
    """Return how many events each of the 65536 words is: a look-up spares the scan its branches."""
    words = np.arange(1 << 16, dtype=np.uint16)
    kind, num_events = words >> 12, np.zeros(1 << 16, np.uint8)
    num_events[kind == ADDR_X] = 1
    for vector, mask in ((VECT_12, 0xFFF), (VECT_8, 0xFF)):
        num_events[kind == vector] = np.bitwise_count(words[kind == vector] & mask)
    return num_events


@compiled
def _later_base(base: np.int64, high: np.int64) -> np.int64:
    """Return the time of a TIME_HIGH of 12 bits after that of the one before."""
    loop, before = base >> 24, (base >> 12) & 0xFFF
    if before - high > HALF_LOOP:
        loop += 1
    return (loop << 24) | (high << 12)


@compiled
def _find_time(words: NDArray[np.uint16], state: NDArray[np.int64]) -> int:
    """Return the number of the first word whose events have a time: after the first TIME_HIGH."""
    if state[0] >= 0:
        return 0
    for i in range(words.size):
        kind = words[i] >> 12
        if kind == ADDR_Y:
            state[2] = words[i] & 0x7FF
        elif kind == VECT_BASE_X:
            state[3], state[4] = words[i] & 0x7FF, (words[i] >> 11) & 1
        elif kind == TIME_HIGH:
            state[0], state[1] = np.int64(words[i] & 0xFFF) << 12, 0
            return i + 1
    return words.size


@compiled
def _scan(
    words: NDArray[np.uint16], num_events: NDArray[np.uint8], state: NDArray[np.int64], found: NDArray[np.int64]
) -> None:
    rest = words[_find_time(words, state) :]
    base, low = state[0], state[1]
    lowest, highest = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    count, counted, num_triggers, last_vector = np.int64(0), np.int64(0), np.int64(0), -1
    for i in range(rest.size):
        word = rest[i]
        kind = word >> 12
        if kind < TIME_LOW:
            count += num_events[word]
            last_vector = i if kind >= VECT_BASE_X else last_vector
        elif kind in (TIME_LOW, TIME_HIGH):
            if count != counted:
                lowest, highest, counted = min(lowest, base + low), max(highest, base + low), count
            if kind == TIME_LOW:
                low = np.int64(word & 0xFFF)
            else:
                later = _later_base(base, np.int64(word & 0xFFF))
                low = low if later == base else np.int64(0)
                base = later
        elif kind == EXT_TRIGGER:
            num_triggers += 1
    if count != counted:
        lowest, highest = min(lowest, base + low), max(highest, base + low)
    state[0], state[1] = base, low
    _last_address(rest, last_vector, state)
    found[0], found[1], found[2], found[3] = count, lowest, highest, num_triggers


@compiled
def _last_address(words: NDArray[np.uint16], last_vector: int, state: NDArray[np.int64]) -> None:
    """Write the row and the vector base that the words leave, looking back from the last of each."""
    for i in range(words.size - 1, -1, -1):
        if words[i] >> 12 == ADDR_Y:
            state[2] = words[i] & 0x7FF
            break
    passed = np.int64(0)
    for i in range(last_vector, -1, -1):
        kind = words[i] >> 12
        if kind == VECT_BASE_X:
            state[3], state[4] = words[i] & 0x7FF, (words[i] >> 11) & 1
            break
        passed += 12 if kind == VECT_12 else 8 if kind == VECT_8 else 0
    # Beyond 16 bits no sensor has a column; the remainder keeps a stream of endless vectors within the columns' type.
    state[3] = (state[3] + passed) & 0xFFFF


@compiled
def _decode(
    words: NDArray[np.uint16],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> int:
    rest = words[_find_time(words, state) :]
    base, now, row = state[0], state[0] + state[1], np.uint16(state[2])
    vector_x, vector_p = np.uint16(state[3]), np.uint8(state[4])
    n, size = np.uint64(0), np.uint64(t.size)
    for i in range(rest.size):
        if n == size:
            break
        word = rest[i]
        kind = word >> 12
        if (RARE_KINDS >> kind) & 1:
            if kind == VECT_BASE_X:
                vector_x, vector_p = np.uint16(word & 0x7FF), np.uint8((word >> 11) & 1)
            elif kind == TIME_HIGH:
                later = _later_base(base, np.int64(word & 0xFFF))
                now = now if later == base else later
                base = later
            else:
                bits = word & (0xFFF if kind == VECT_12 else 0xFF)
                if n + np.uint64(12) <= size:
                    for k in range(12):
                        x[n], y[n], t[n], p[n] = vector_x + k, row, now, vector_p
                        n += np.uint64((bits >> k) & 1)
                else:
                    n = _fill(bits, vector_x, row, now, vector_p, n, x, y, t, p)
                vector_x = np.uint16(vector_x + (12 if kind == VECT_12 else 8))
        else:
            # Address and time words follow each other without a pattern: an event is written after every one, and
            # kept after ADDR_X, which is cheaper than branches that cannot be foretold.
            row = np.uint16(word & 0x7FF) if kind == ADDR_Y else row
            now = base + np.int64(word & 0xFFF) if kind == TIME_LOW else now
            x[n], y[n], t[n], p[n] = word & 0x7FF, row, now, (word >> 11) & 1
            n += np.uint64(kind == ADDR_X)
    return int(n)


@compiled
def _fill(
    bits: int,
    first_x: np.uint16,
    row: np.uint16,
    now: np.int64,
    polarity: np.uint8,
    n: np.uint64,
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> np.uint64:
    """Write an event for each bit of a vector from number `n` on until the columns are full; return the next number."""
    for k in range(12):
        if (bits >> k) & 1 and n < np.uint64(t.size):
            x[n], y[n], t[n], p[n] = np.uint16(first_x + k), row, now, polarity
            n += np.uint64(1)
    return n


@compiled
def _triggers(
    words: NDArray[np.uint16],
    state: NDArray[np.int64],
    t: NDArray[np.int64],
    source: NDArray[np.uint8],
    edge: NDArray[np.uint8],
) -> int:
    rest = words[_find_time(words, state) :]
    base, low, n = state[0], state[1], 0
    for i in range(rest.size):
        kind, value = rest[i] >> 12, np.int64(rest[i] & 0xFFF)
        if kind == TIME_LOW:
            low = value
        elif kind == TIME_HIGH:
            later = _later_base(base, value)
            low = low if later == base else np.int64(0)
            base = later
        elif kind == EXT_TRIGGER and n < t.size:
            t[n], source[n], edge[n] = base + low, (value >> 8) & 0xF, value & 1
            n += 1
    return n


CODEC = WordCodec("evt3", np.dtype("<u2"), BLOCK_WORDS, START, scan_words, _decode, _triggers)
