"""Events into time order: a counting sort over whole microseconds that keeps raster order inside one (compiled)."""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled

_DIGIT = 16
"""Bits that one counting pass sorts by: enough for 65 ms at once."""
_DIGIT_MASK = (1 << _DIGIT) - 1


@compiled
def _time_order(time: NDArray[np.int64], largest: np.int64) -> NDArray[np.int32]:
    """The stable order of whole times 1..largest: counting sorts of 16 bits at a time keep raster order inside a us."""
    num_events = len(time)
    order = np.empty(num_events, np.int32)
    for n in range(num_events):
        order[n] = n
    # One bit more: times are doubled, with the polarity below.
    shift = 1
    while shift == 1 or (largest >> (shift - 1)) > 0:
        starts = np.zeros(min(int(largest) >> (shift - 1), _DIGIT_MASK) + 2, np.uint32)
        for n in range(num_events):
            starts[np.uint64((time[n] >> shift) & _DIGIT_MASK) + np.uint64(1)] += np.uint32(1)
        for value in range(1, len(starts)):
            starts[value] += starts[value - 1]
        sorted_order = np.empty(num_events, np.int32)
        for n in range(num_events):
            digit = np.uint64((time[order[n]] >> shift) & _DIGIT_MASK)
            sorted_order[starts[digit]] = order[n]
            starts[digit] += np.uint32(1)
        order = sorted_order
        shift += _DIGIT
    return order


@compiled
def ordered_events(
    place: NDArray[np.uint32],
    time: NDArray[np.int64],
    exact: NDArray[np.float64],
    start_us: np.int64,
    whole_step: np.int64,
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]:
    """Unpack events in the order of their whole times, raster order within one: x, y, t, p, exact us.

    `place` (N,) is y << 16 | x in raster order; `time` twice the whole us since `start_us`, 1 to `whole_step`, plus the
    polarity; `exact` the time before rounding, or empty: then so is the result.
    """
    order, num_events = _time_order(time, whole_step), len(time)
    x, y = np.empty(num_events, np.uint16), np.empty(num_events, np.uint16)
    t, p = np.empty(num_events, np.int64), np.empty(num_events, np.uint8)
    exact_times = len(exact) > 0
    exact_ordered = np.empty(num_events if exact_times else 0, np.float64)
    for n in range(num_events):
        source = order[n]
        x[n], y[n] = place[source] & 0xFFFF, place[source] >> 16
        t[n], p[n] = start_us + (time[source] >> 1), time[source] & 1
        if exact_times:
            exact_ordered[n] = exact[source]
    return x, y, t, p, exact_ordered
