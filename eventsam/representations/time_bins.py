"""Where bins of time begin in a sorted time column: exact in integers, or in the float32 arithmetic of RVT."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled


@compiled
def first_at(t: NDArray[np.int64], time: int, start: int) -> int:
    """Return the number of the first event at or after `time`, given that it is not before number `start`.

    Gallops from `start` and then halves: neighbouring edges are found in a few steps.
    """
    low, step = start, 1
    while low + step <= t.size and t[low + step - 1] < time:
        low += step
        step *= 2
    high = min(low + step - 1, t.size)
    # Everything before low is earlier; high is the column's end or at or after `time`.
    while low < high:
        middle = (low + high) >> 1
        if t[middle] < time:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def first_age(duration: int, share: np.float32) -> int:
    """Return the smallest d >= 0 with float32(d) / float32(max(duration, 1)) >= share, or duration + 1 where none is.

    Conversion, division and comparison are float32 as in RVT's code; both roundings keep order, so bisection is exact.
    """
    whole = np.float32(max(duration, 1))
    low, high = 0, duration + 1
    while low < high:
        middle = (low + high) >> 1
        if np.float32(middle) / whole < share:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _first_ages(duration: int, shares: NDArray[np.float32], ages: NDArray[np.int64]) -> None:
    for b in range(shares.size):
        ages[b] = first_age(duration, shares[b])


def bin_start_ages(duration: int, shares: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the smallest age d = t - t0 in us of each bin of a window of `duration` us: bin b holds d from ages[b].

    `shares` are the bins' starts as shares of the duration (`even_shares`, or a representation's own).
    """
    ages = np.empty(len(shares), np.int64)
    _first_ages(duration, shares, ages)
    return ages


@lru_cache(maxsize=64)
def even_shares(num_bins: int) -> NDArray[np.float32]:
    """Return the smallest float32 s with floor(s * num_bins) >= b, for each bin b: RVT's float32 product."""
    bins, shares = np.float32(num_bins), np.zeros(num_bins, np.float32)
    for b in range(1, num_bins):
        share = np.float32(b) / bins
        while share * bins >= b:
            share = np.nextafter(share, np.float32(0), dtype=np.float32)
        while share * bins < b:
            share = np.nextafter(share, np.float32(2), dtype=np.float32)
        shares[b] = share
    shares.flags.writeable = False
    return shares
