"""The steps of the event pixel over one tile of pixels, each a loop without branches that compiles to vector code.

All arrays are parts of one tile, (N,) each, N at most 1024.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.simulate.counter_random import NUM_JITTERS

Array = NDArray[Any]

_JITTER_MASK = np.uint32(NUM_JITTERS - 1)


@compiled
def look_up(table: Array, image: NDArray[np.uint8] | None, start: int, output: Array) -> None:
    """Write the entries of a tile's pixels: by grey level, or by pixel (from `start` on) where there is no image."""
    if image is None:
        part = table[start : start + len(output)]
        for n in range(len(output)):
            output[n] = part[n]
    else:
        grey = image[start : start + len(output)]
        for n in range(len(output)):
            output[n] = table[grey[n]]


@compiled
def low_pass_tile(signal: Array, share: NDArray[np.float64], low_passed: Array, before: Array) -> None:
    """Low-pass `signal` in place, a share of the way; `before` gets the memory as it was."""
    for n in range(len(signal)):
        before[n] = low_passed[n]
        low_passed[n] = (1 - share[n]) * low_passed[n] + share[n] * signal[n]
        signal[n] = low_passed[n]


@compiled
def leak_tile(base: Array, on: NDArray[np.float32], step: np.float32, rested: Array) -> None:
    """Lower `base` by `step` thresholds; `rested` gets it as it was."""
    for n in range(len(base)):
        rested[n] = base[n]
        base[n] = base[n] - step * on[n]


@compiled
def look_up_jitter(jitter: NDArray[np.float32], words: NDArray[np.uint32], output: NDArray[np.float32]) -> None:
    """Write the random factor (of `jitter`, (4096,)) that each pixel's word chooses."""
    # Apart from what uses it: a loop with look-ups compiles to one pixel at a time.
    for n in range(len(output)):
        output[n] = jitter[words[n] & _JITTER_MASK]


@compiled
def leak_unevenly_tile(
    base: Array,
    on: NDArray[np.float32],
    rate: NDArray[np.float32],
    step_s: np.float32,
    factor: NDArray[np.float32],
    rested: Array,
) -> None:
    """Like `leak_tile`, at each pixel's own rate (thresholds per second) times its factor."""
    for n in range(len(base)):
        rested[n] = base[n]
        base[n] = base[n] - step_s * (rate[n] * factor[n]) * on[n]


@compiled
def flag_crossings(
    signal: Array, base: Array, on: NDArray[np.float32], off: NDArray[np.float32], flags: NDArray[np.uint8]
) -> None:
    """Write 1 where the signal is a threshold or more away from the base, else 0."""
    for n in range(len(signal)):
        difference = signal[n] - base[n]
        flags[n] = np.uint8(difference >= on[n]) | np.uint8(-difference >= off[n])


@compiled
def flag_shots(
    words: NDArray[np.uint32],
    chance: NDArray[np.float32],
    on: NDArray[np.float32],
    off: NDArray[np.float32],
    nominal_on: np.float32,
    nominal_off: np.float32,
    flags: NDArray[np.uint8],
) -> None:
    """Add 2 (ON) and 4 (OFF) where shot noise fires; `chance` is in units of 2^-32, at the nominal thresholds."""
    # One uniform number u per pixel: OFF where u is below its chance, ON where 1 - u is.
    half = np.float32(0.5)
    for n in range(len(flags)):
        low = np.float32(words[n]) + half
        high = np.float32(np.uint32(~words[n])) + half
        brighter = np.uint8(high * on[n] < chance[n] * nominal_on)
        darker = np.uint8(low * off[n] < chance[n] * nominal_off)
        flags[n] |= (brighter << 1) | (darker << 2)
