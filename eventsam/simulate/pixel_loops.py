"""The compiled per-pixel loops of the event pixel model."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled

Array = NDArray[Any]


@compiled
def _count(difference: float, threshold: float) -> int:
    """How many whole thresholds fit into a non-negative difference, rounded as torch's floor division rounds."""
    quotient = (difference - np.fmod(difference, threshold)) / threshold
    whole = np.floor(quotient)
    if quotient - whole > 0.5:
        whole += 1
    return int(whole)


@compiled
def count_events(signal: Array, base: Array, on: Array, off: Array, counts: NDArray[np.int32]) -> int:
    """Write the signed number of threshold crossings of every pixel; return the largest number."""
    largest = 0
    for row in range(signal.shape[0]):
        for column in range(signal.shape[1]):
            difference = signal[row, column] - base[row, column]
            number = 0
            if difference >= on[row, column]:
                number = _count(difference, on[row, column])
            elif -difference >= off[row, column]:
                number = -_count(-difference, off[row, column])
            counts[row, column] = number
            largest = max(largest, abs(number))
    return largest


@compiled
def emit_events(
    counts: NDArray[np.int32],
    before: Array,
    after: Array,
    on: Array,
    off: Array,
    last_event: NDArray[np.float64],
    step: int,
    start: int,
    refractory: int,
    num_slots: int,
    base: Array,
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    offset: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> int:
    """Write the events of one frame in raster order and move `base`; return their number.

    `before` and `after` are the signal relative to the base at the previous and this frame; with `num_slots` above 0
    the i-th event of a pixel falls into slot i, else where the line between them crosses the i-th threshold. `offset`
    is the time since the previous frame in whole us, 1..step; `last_event` holds exact times for the dead time.
    """
    place = 0
    # The reference applies the dead time only where it is longer than a slot.
    dead = refractory > 0 and (num_slots == 0 or refractory > step / num_slots)
    for row in range(counts.shape[0]):
        for column in range(counts.shape[1]):
            number = counts[row, column]
            if number == 0:
                continue
            polarity = 1 if number > 0 else 0
            threshold = on[row, column] if number > 0 else off[row, column]
            sign = 1.0 if number > 0 else -1.0
            rise = sign * (after[row, column] - before[row, column])
            passed = 0
            for index in range(abs(number)):
                if num_slots > 0:
                    exact = (index + 1) * step / num_slots
                    whole = int(np.rint(exact))
                else:
                    needed = (index + 1) * threshold - sign * before[row, column]
                    share = needed / rise if rise > 0 else 1.0
                    exact = min(max(share, 0.0), 1.0) * step
                    whole = int(np.ceil(exact))
                if dead and start + exact - last_event[row, column] <= refractory:
                    continue
                last_event[row, column] = start + exact
                x[place], y[place], p[place] = column, row, polarity
                offset[place] = min(max(whole, 1), step)
                place += 1
                passed += 1
            # One rounding per product and sum, in the precision of the thresholds, as the reference does.
            moved = np.float32(passed) * threshold
            if number > 0:
                base[row, column] += moved
            else:
                base[row, column] -= moved
    return place


@compiled
def time_order(offset: NDArray[np.int64], starts: NDArray[np.int64], order: NDArray[np.int64]) -> None:
    """Write the stable order of events by their offset 1..step: a counting sort keeps raster order inside a us.

    `starts` is zeroed room for step + 2 counts.
    """
    for n in range(len(offset)):
        starts[offset[n] + 1] += 1
    for value in range(1, len(starts)):
        starts[value] += starts[value - 1]
    for n in range(len(offset)):
        order[starts[offset[n]]] = n
        starts[offset[n]] += 1
