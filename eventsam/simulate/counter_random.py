"""Random numbers by counter: Philox 4x32-7 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

A draw is a pure function of (seed, place, frame, purpose): it knows no order of calls, no thread and no chunk.
"""

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled

Key = tuple[np.uint64, np.uint64]
Words = tuple[np.uint64, np.uint64, np.uint64, np.uint64]

WORDS_PER_CALL = 4
PIXEL, PHOTORECEPTOR, HOT_PIXEL = (np.uint64(purpose) for purpose in range(3))
"""What a draw is for: the last word of the counter, so that uses never share a number."""

NUM_JITTERS = 4096
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_STEP_0, _STEP_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


def key_of(seed: int) -> Key:
    """The two key words of a seed from 0 to 2^64 - 1."""
    return np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)


@cache
def normal_quantiles() -> NDArray[np.float32]:
    """4096 equally likely values of unit variance that stand in for a normal variate where only its spread matters."""
    inverse = NormalDist().inv_cdf
    values = np.array([inverse((index + 0.5) / NUM_JITTERS) for index in range(NUM_JITTERS)])
    table: NDArray[np.float32] = (values / values.std()).astype(np.float32)
    table.flags.writeable = False
    return table


@compiled
def _round(c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64) -> Words:
    first, second = _MULTIPLIER_0 * (c0 & _LOW), _MULTIPLIER_1 * (c2 & _LOW)
    return (second >> _HALF) ^ c1 ^ k0, second, (first >> _HALF) ^ c3 ^ k1, first


@compiled
def philox(c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, key: Key) -> Words:
    """Four random words of a counter of four words: seven rounds, the fewest that pass every test of BigCrush.

    Words are 32 bits, held in the lower half of 64; the upper half of a result means nothing.
    """
    # Written out, and with upper halves left dirty: so the compiler works on eight counters at a time.
    k0, k1 = key
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = k0 + _STEP_0, k1 + _STEP_1
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = k0 + _STEP_0, k1 + _STEP_1
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = k0 + _STEP_0, k1 + _STEP_1
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = k0 + _STEP_0, k1 + _STEP_1
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = k0 + _STEP_0, k1 + _STEP_1
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    k0, k1 = k0 + _STEP_0, k1 + _STEP_1
    return _round(c0, c1, c2, c3, k0, k1)


@compiled
def fill_words(words: NDArray[np.uint32], tile: int, frame: np.uint64, purpose: np.uint64, key: Key) -> None:
    """Fill (4 Q,) with the words of tile number `tile`: word i is lane i // Q of call tile * Q + i % Q."""
    quarter = len(words) // WORDS_PER_CALL
    first, second = words[:quarter], words[quarter : 2 * quarter]
    third, fourth = words[2 * quarter : 3 * quarter], words[3 * quarter : 4 * quarter]
    start, zero = np.uint64(tile * quarter), np.uint64(0)
    for n in range(quarter):
        w0, w1, w2, w3 = philox(start + np.uint64(n), frame, zero, purpose, key)
        first[n], second[n], third[n], fourth[n] = np.uint32(w0), np.uint32(w1), np.uint32(w2), np.uint32(w3)


@compiled
def unit_uniform(place: int, number: int, purpose: np.uint64, key: Key) -> float:
    """A uniform number in (0, 1) with 52 random bits, for the use number `number` of a place (below 2^32)."""
    wide = np.uint64(number)
    w0, w1, _, _ = philox(np.uint64(place), wide & _LOW, wide >> _HALF, purpose, key)
    bits = ((w0 & _LOW) << np.uint64(20)) | ((w1 & _LOW) >> np.uint64(12))
    return (float(bits) + 0.5) / 4503599627370496.0


@compiled
def fill_normal(values: NDArray[np.float32], frame: np.uint64, purpose: np.uint64, key: Key) -> None:
    """Fill (N,) with independent normal variates (Box and Muller, from 32-bit words: tails to 6.6 sigma)."""
    scale = 2.0**-32
    for start in range(0, len(values), 4):
        words = philox(np.uint64(start >> 2), frame, np.uint64(0), purpose, key)
        for pair in range(2):
            radius = np.sqrt(-2.0 * np.log((float(words[2 * pair] & _LOW) + 0.5) * scale))
            angle = 2.0 * np.pi * float(words[2 * pair + 1] & _LOW) * scale
            place = start + 2 * pair
            if place < len(values):
                values[place] = radius * np.cos(angle)
            if place + 1 < len(values):
                values[place + 1] = radius * np.sin(angle)
