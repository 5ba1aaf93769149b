"""Events as 32-bit words: a short time step, polarity and pixel in one word, long steps in words of their own.

A word is, from its highest bit, dt:9 | p:1 | y:11 | x:11, little-endian on disk; dt is the time in us since the event
before (for a row's first event, since the row's t0). dt = 511 is no event: it advances the time by 511 us plus the
word's low 22 bits, as often as the step needs.
"""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled

MAX_SIDE = 2048
"""Sensor sides that 11 bits can address."""
ESCAPE = 511
"""Time step that marks a word without an event."""
LOW_BITS = (1 << 22) - 1
WORD = np.dtype("<u4")


@compiled
def count_words(t: NDArray[np.int64], t0: NDArray[np.int64], event_first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the words that each row needs (R,); row r holds events event_first[r] up to event_first[r + 1]."""
    words = np.zeros(t0.size, np.int64)
    for row in range(t0.size):
        before = t0[row]
        part = t[event_first[row] : event_first[row + 1]]
        count = part.size
        for i in range(part.size):
            step = part[i] - before
            before = part[i]
            if step >= ESCAPE:
                # Each escape takes at most ESCAPE + LOW_BITS; what is left must be less than ESCAPE.
                count += 1 + (step - ESCAPE) // (ESCAPE + LOW_BITS)
        words[row] = count
    return words


@compiled
def pack_words(
    x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64], p: NDArray[np.uint8],
    t0: NDArray[np.int64], event_first: NDArray[np.int64], out: NDArray[np.uint32],
) -> None:  # fmt: skip
    """Write the words of all rows one after the other into `out`, of exactly the length `count_words` gives."""
    k = 0
    for row in range(t0.size):
        first, end = event_first[row], event_first[row + 1]
        xs, ys, ts, ps = x[first:end], y[first:end], t[first:end], p[first:end]
        before = t0[row]
        for i in range(ts.size):
            step = ts[i] - before
            before = ts[i]
            while step >= ESCAPE:
                low = min(step - ESCAPE, LOW_BITS)
                out[k] = (ESCAPE << 23) | low
                step -= ESCAPE + low
                k += 1
            out[k] = (step << 23) | (np.int64(ps[i]) << 22) | (np.int64(ys[i]) << 11) | np.int64(xs[i])
            k += 1


@compiled
def unpack_words(
    words: NDArray[np.uint32], word_first: NDArray[np.int64], t0: NDArray[np.int64], t1: NDArray[np.int64],
    event_first: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Read rows of words into columns; return the first row that does not hold what is stated, -1 where all do.

    Row r has words word_first[r] up to word_first[r + 1], must hold events event_first[r] up to event_first[r + 1]
    exactly, and all of them in [t0[r], t1[r]).
    """
    for row in range(t0.size):
        part = words[word_first[row] : word_first[row + 1]]
        first, end = event_first[row], event_first[row + 1]
        xs, ys, ts, ps = x[first:end], y[first:end], t[first:end], p[first:end]
        now = t0[row]
        k = 0
        for i in range(part.size):
            word = np.int64(part[i])
            step = word >> 23
            if step == ESCAPE:
                now += ESCAPE + (word & LOW_BITS)
                continue
            if k >= ts.size:
                return row
            now += step
            j = np.uint64(k)
            ts[j] = now
            xs[j] = word & 2047
            ys[j] = (word >> 11) & 2047
            ps[j] = (word >> 22) & 1
            k += 1
        # Only a sum past the range of int64 can bring the time below the row's start.
        if k != ts.size or (k > 0 and not t0[row] <= now < t1[row]):
            return row
    return -1
