"""The compiled sums of the voxel grid: float sums in event order, exact whole-number sums, normalisation."""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.representations.pixels import pixel_of
from eventsam.representations.time_bins import first_at

DENSE_EVENTS_PER_VOXEL = 0.5
"""From so many on, near and far sums live side by side (`pairs`): an event touches one cache line, not two."""


@compiled
def bin_end(t: NDArray[np.int64], b: int, num_bins: int, t0: int, duration: int, start: int) -> int:
    """Return the number of the first event with floor s > b, s = (K - 1) (t - t0) / duration, from `start` on.

    s >= b + 1 means t - t0 >= ceil((b + 1) d / (K - 1)): exact in integers. One instant lies in bin 0.
    """
    if b == num_bins - 1 or duration == 0:
        return t.size
    return first_at(t, t0 - (-(b + 1) * duration) // (num_bins - 1), start)


@compiled
def draw_bilinear(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    t0: int,
    duration: int,
    width: np.uint32,
    pairs: NDArray[np.uint64],
    grid: NDArray[np.float32],
) -> None:
    """Write the (K, H * W) grid: each event's two shares added to zeros in event order.

    `pairs` are H * W zeros, left zero, or none at all: then the shares go straight into the planes, which suits
    few events. Both ways add the same numbers in the same order.
    """
    num_bins = grid.shape[0]
    # One instant has nothing to interpolate: every event has share 0 and stays in its bin.
    scale = 1.0 / duration if duration > 0 else 0.0
    first = 0
    for b in range(num_bins):
        end = bin_end(t, b, num_bins, t0, duration, first)
        xs, ys, ts, ps = x[first:end], y[first:end], t[first:end], p[first:end]
        first = end
        start = t0 * (num_bins - 1) + b * duration
        if pairs.size > 0:
            _add_to_pairs(xs, ys, ts, ps, num_bins - 1, start, scale, width, pairs.view(np.float32))
            _shift_pairs(pairs, grid[b].view(np.uint32))
        else:
            # Cleared just before they are added to, two planes at a time: not the whole grid at first and from memory
            # again. In the last bin the share of the next one is 0: adding it to the same plane changes nothing.
            far = grid[min(b + 1, num_bins - 1)]
            if b == 0:
                grid[0] = np.float32(0.0)
            if b < num_bins - 1:
                far[:] = np.float32(0.0)
            _add_to_planes(xs, ys, ts, ps, num_bins - 1, start, scale, width, grid[b], far)


@compiled
def _add_to_planes(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    num_steps: int,
    start: int,
    scale: float,
    width: np.uint32,
    near: NDArray[np.float32],
    far: NDArray[np.float32],
) -> None:
    for i in range(x.size):
        pixel = pixel_of(x[i], y[i], width)
        sign = np.float32(2.0) * np.float32(p[i]) - np.float32(1.0)
        # The numerator is a whole number, so an event on a bin's edge leaves the next bin exactly untouched.
        share = np.float32((t[i] * num_steps - start) * scale)
        near[pixel] += sign * (np.float32(1.0) - share)
        far[pixel] += sign * share


@compiled
def _add_to_pairs(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    num_steps: int,
    start: int,
    scale: float,
    width: np.uint32,
    halves: NDArray[np.float32],
) -> None:
    for i in range(x.size):
        at = pixel_of(x[i], y[i], width) << np.uint64(1)
        sign = np.float32(2.0) * np.float32(p[i]) - np.float32(1.0)
        share = np.float32((t[i] * num_steps - start) * scale)
        halves[at] += sign * (np.float32(1.0) - share)
        halves[at + np.uint64(1)] += sign * share


@compiled
def _shift_pairs(words: NDArray[np.uint64], near: NDArray[np.uint32]) -> None:
    # A pair as one little-endian word: the near sum leaves, the far one takes its place, 0 follows.
    for i in range(near.size):
        near[i] = np.uint32(words[i] & np.uint64(0xFFFFFFFF))
        words[i] >>= np.uint64(32)


@compiled
def _field_bits(num_events: int, duration: int) -> int:
    """Return how many low bits hold any signed sum of so many ages beside the events' count, 64 where none do."""
    count_bits, sum_bits = 0, 1
    while num_events >> count_bits:
        count_bits += 1
    while (num_events * (duration - duration // 2)) >> (sum_bits - 1):
        sum_bits += 1
    return sum_bits if count_bits + sum_bits <= 63 else 64


@compiled
def draw_exact(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    t0: int,
    duration: int,
    width: np.uint32,
    packed: NDArray[np.int64],
    carry: NDArray[np.int64],
    grid: NDArray[np.float32],
) -> None:
    """Write the (K, H * W) grid from whole-number sums: the same for any order of the events.

    With w = (K - 1) (t - t0) - b T in us, an event of sign v adds v 2^L + v (w - floor(T / 2)) to one 64-bit word of
    its pixel: the low L bits sum what is left of w, the bits above count v. Voxel b is then float32(n / T) with
    n = T count_b - W_b + W_(b-1), W the sums of v w, the division in float64. Where a word is too narrow for the worst
    case, count and age are summed apart. `packed` and `carry` are H * W zeros each, left zero.
    """
    num_bins, whole = grid.shape[0], max(duration, 1)
    first = 0
    for b in range(num_bins):
        end = bin_end(t, b, num_bins, t0, duration, first)
        xs, ys, ts, ps = x[first:end], y[first:end], t[first:end], p[first:end]
        first = end
        field = _field_bits(xs.size, whole)
        if field < 64:
            offset = (np.int64(1) << field) - whole // 2 - t0 * (num_bins - 1) - b * duration
            for i in range(xs.size):
                pixel = pixel_of(xs[i], ys[i], width)
                sign = np.int64(2) * np.int64(ps[i]) - np.int64(1)
                packed[pixel] += sign * (ts[i] * (num_bins - 1) + offset)
        else:
            for i in range(xs.size):
                pixel = pixel_of(xs[i], ys[i], width)
                sign = np.int64(2) * np.int64(ps[i]) - np.int64(1)
                packed[pixel] += sign * ((ts[i] - t0) * (num_bins - 1) - b * duration)
                carry[pixel] += sign * whole
        _unpack(packed, carry, field, whole, grid[b])


@compiled
def _unpack(
    packed: NDArray[np.int64], carry: NDArray[np.int64], field: int, whole: int, plane: NDArray[np.float32]
) -> None:
    # carry comes with W of the bin before and leaves with this bin's; after the last bin that is 0, as w is. Summed
    # apart (64 bits), carry holds T count as well and packed nothing but W: the count read here is 0.
    spare, count_shift, middle = 64 - field, min(field, 63), whole // 2
    for i in range(plane.size):
        word = packed[i]
        rest = (word << spare) >> spare
        count = (word - rest) >> count_shift
        ages = rest + count * middle
        plane[i] = np.float32(np.float64(count * whole - ages + carry[i]) / np.float64(whole))
        carry[i] = ages
        packed[i] = 0


@compiled
def normalize_nonzero(values: NDArray[np.float32]) -> None:
    """Shift and scale the nonzero values to mean 0 and population standard deviation 1, in place; zeros stay zero."""
    # No branches on the data: which voxels are zero is random, and a mispredicted branch costs more than the sums.
    count, total, low, high = 0, 0.0, np.inf, -np.inf
    for i in range(values.size):
        value = np.float64(values[i])
        count += value != 0.0
        total += value
        low = min(low, value if value != 0.0 else np.inf)
        high = max(high, value if value != 0.0 else -np.inf)
    if count == 0:
        return
    mean, squares = total / count, 0.0
    for i in range(values.size):
        deviation = (values[i] - mean) if values[i] != 0.0 else 0.0
        squares += deviation * deviation
    # Equal values are told by their range: rounding leaves them a standard deviation of about 1e-17, not 0.
    scale = np.sqrt(count / squares) if high > low else 0.0
    for i in range(values.size):
        values[i] = np.float32((values[i] - mean) * scale) if values[i] != 0.0 else np.float32(0.0)
