"""EVT 3.0 words from events; `eventsam.io.evt3` decodes them."""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.io.evt2 import next_high
from eventsam.io.evt3 import ADDR_X, ADDR_Y, TIME_HIGH, TIME_LOW, VECT_8, VECT_12, VECT_BASE_X

HIGH_MASK = 0xFFF
LOOP_BITS = 24
VECTOR = 32
"""Columns of one group: two VECT_12 and one VECT_8, as the sensors send them."""
START = (-1, -1, -1, -1, -1)
"""State before the first word: TIME_HIGH with its loops, TIME_LOW, row, column and polarity of the next vector."""


class Evt3Encoder:
    """Events to EVT 3.0 words, piece by piece."""

    def __init__(self) -> None:
        """Start before the first TIME_HIGH."""
        self._state = np.array(START, np.int64)

    def __call__(
        self, x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64], p: NDArray[np.uint8]
    ) -> NDArray[np.uint16]:
        """Return the words of events that follow those before; t >= 0, x and y below 2048."""
        loops = int(t[-1] >> LOOP_BITS) - int(max(self._state[0], 0) >> 12)
        num_highs = int(np.count_nonzero(np.diff(t >> 12))) + 2 * loops + 2
        # No event needs more than TIME_LOW, ADDR_Y and ADDR_X, and vectors are written where they are shorter.
        words = np.empty(3 * len(t) + num_highs, np.uint16)
        return words[: _encode(x, y, t, p, self._state, words)]


@compiled
def _encode(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    state: NDArray[np.int64],
    words: NDArray[np.uint16],
) -> int:
    n, i = 0, 0
    while i < t.size:
        n = _write_time_and_row(t[i], np.int64(y[i]), state, words, n)
        goes_on = state[4] == p[i] and state[3] <= x[i] < state[3] + VECTOR
        base = state[3] if goes_on else np.int64(x[i])
        num_events = _run(x, y, t, p, i, base)
        if num_events > (3 if goes_on else 4):
            if not goes_on:
                words[n] = (VECT_BASE_X << 12) | (np.int64(p[i]) << 11) | base
                n += 1
            n = _write_vector(x[i : i + num_events], base, words, n)
            state[3], state[4] = base + VECTOR, p[i]
            i += num_events
        else:
            words[n] = (ADDR_X << 12) | (np.int64(p[i]) << 11) | np.int64(x[i])
            # Some decoders keep one column for both kinds of word: the next vector states its base.
            state[3], state[4] = -1, -1
            n, i = n + 1, i + 1
    return n


@compiled
def _write_time_and_row(t: np.int64, y: np.int64, state: NDArray[np.int64], words: NDArray[np.uint16], n: int) -> int:
    wanted = t >> 12
    while state[0] != wanted:
        state[0] = next_high(state[0], wanted, np.int64(HIGH_MASK))
        # Not every decoder clears the low bits with a new TIME_HIGH: they follow each time.
        state[1] = -1
        words[n] = (TIME_HIGH << 12) | (state[0] & HIGH_MASK)
        n += 1
    if state[1] != t & 0xFFF:
        state[1] = t & 0xFFF
        words[n] = (TIME_LOW << 12) | state[1]
        n += 1
    if state[2] != y:
        state[2] = y
        words[n] = (ADDR_Y << 12) | y
        n += 1
    return n


@compiled
def _run(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    first: int,
    base: np.int64,
) -> int:
    """Return how many events from `first` on fit one group: same time, row and polarity, ascending columns."""
    i = first + 1
    while i < t.size and t[i] == t[first] and y[i] == y[first] and p[i] == p[first]:
        if x[i] <= x[i - 1] or x[i] >= base + VECTOR:
            break
        i += 1
    return i - first


@compiled
def _write_vector(x: NDArray[np.uint16], base: np.int64, words: NDArray[np.uint16], n: int) -> int:
    mask = np.int64(0)
    for column in x:
        mask |= np.int64(1) << (np.int64(column) - base)
    words[n] = (VECT_12 << 12) | (mask & 0xFFF)
    words[n + 1] = (VECT_12 << 12) | ((mask >> 12) & 0xFFF)
    words[n + 2] = (VECT_8 << 12) | (mask >> 24)
    return n + 3
