"""Mixed-density stack: signed counts from the window's start on, over spans that double from channel to channel."""

from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events
from eventsam.representations import Cost
from eventsam.representations.colours import signed_rgb
from eventsam.representations.pixels import pixel_of
from eventsam.representations.scratch import borrow_zeros
from eventsam.representations.time_bins import bin_start_ages, first_at
from eventsam.representations.window_image import BYTES_PER_PIXEL_AND_POLARITY, WindowImage, check_count

MAX_SUM = 127


@dataclass(frozen=True)
class MixedDensity(WindowImage):
    """Mixed-density event stack (K, H, W) int8 of a window (Nam et al., CVPR 2022; in RVT's form).

    Channel b sums the signs 2 p - 1 of the events in the bins 0 to b, bin b holding the time s in
    [2^(b - K), 2^(b - K + 1)) of the way from the first to the last event (bin 0 also what comes before): channel
    K - 1 is all of it, channel K - 2 the first half, channel K - 3 the first quarter. Sums stop at -cutoff and cutoff
    (None: 127). With `wrapping` they are kept in 8 bits first, as RVT does: for parity with files that it made.
    """

    num_bins: int = 10
    count_cutoff: int | None = 32
    wrapping: bool = False

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.int8)

    def __post_init__(self) -> None:
        """Refuse impossible counts."""
        check_count("num_bins", self.num_bins, 1)
        if self.count_cutoff is not None:
            check_count("count_cutoff", self.count_cutoff, 1, MAX_SUM)

    @property
    def num_channels(self) -> int:
        """One channel per bin."""
        return self.num_bins

    @property
    def starts_from_zero(self) -> bool:
        """No: every element is written."""
        return False

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the sum over channels, early events weighing most: red where brighter, blue where darker."""
        self._check_image(image, f"a mixed-density stack of {self.num_bins} bins")
        return signed_rgb(image.sum(axis=0, dtype=np.int64))

    def cost(self, num_events: int, height: int, width: int) -> Cost:
        """Return the cost: x, y, p of each event, a byte per sum out, four of scratch per pixel."""
        pixels = height * width
        return Cost(num_events * BYTES_PER_PIXEL_AND_POLARITY, self.num_bins * pixels, 4 * pixels)

    def _draw(self, window: Events, t0: int, t1: int, image: NDArray[Any]) -> None:
        if not len(window):
            image.fill(0)
            return
        start, end = int(window.t[0]), int(window.t[-1])
        starts = start + bin_start_ages(end - start, log_shares(self.num_bins))
        sums = borrow_zeros(window.height * window.width, np.int32)
        cutoff = -1 if self.count_cutoff is None else self.count_cutoff
        planes = image.reshape(self.num_bins, -1)
        width = np.uint32(window.width)
        _draw_sums(window.x, window.y, window.t, window.p, starts, width, cutoff, self.wrapping, sums, planes)


@lru_cache(maxsize=64)
def log_shares(num_bins: int) -> NDArray[np.float32]:
    """Return the smallest float32 share s of the time that lies in each bin, by RVT's float32 arithmetic.

    b = floor(max(K - log(min(max(s, 1e-6), 1 - 1e-6)) / log(1/2), 0)): the logarithm, quotient and difference are
    rounded to float32 one by one, which moves a bin's start a few units below 2^(b - K).
    """
    shares = np.zeros(num_bins, np.float32)
    for b in range(1, num_bins):
        # Positive floats order like their bits, and the rounded steps keep order: bisect over the bits.
        low, high = 0, int(np.float32(1).view(np.int32))
        while low < high:
            middle = (low + high) // 2
            if _log_bin(np.int32(middle).view(np.float32), num_bins) < b:
                low = middle + 1
            else:
                high = middle
        shares[b] = np.int32(low).view(np.float32)
    shares.flags.writeable = False
    return shares


def _log_bin(share: np.float32, num_bins: int) -> float:
    clamped = min(max(share, np.float32(1e-6)), np.float32(1 - 1e-6))
    # The float64 logarithm rounded once is the correctly rounded float32 one.
    quotient = np.float32(log(clamped)) / np.float32(log(0.5))
    return float(np.floor(max(np.float32(num_bins) - quotient, np.float32(0))))


@compiled
def _draw_sums(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    starts: NDArray[np.int64],
    width: np.uint32,
    cutoff: int,
    wrapping: bool,
    sums: NDArray[np.int32],
    planes: NDArray[np.int8],
) -> None:
    # The running sums over the bins are the channels.
    num_bins, first = starts.size, 0
    lowest, highest = np.int32(-cutoff), np.int32(cutoff)
    if cutoff < 0:
        lowest, highest = np.int32(-128 if wrapping else -127), np.int32(127)
    for b in range(num_bins):
        end = t.size if b == num_bins - 1 else first_at(t, starts[b + 1], first)
        xs, ys, ps = x[first:end], y[first:end], p[first:end]
        for i in range(xs.size):
            sums[pixel_of(xs[i], ys[i], width)] += np.int32(2) * np.int32(ps[i]) - np.int32(1)
        first = end
        plane = planes[b]
        if wrapping:
            for i in range(plane.size):
                plane[i] = np.int8(min(max(np.int32(np.int8(sums[i])), lowest), highest))
        else:
            for i in range(plane.size):
                plane[i] = np.int8(min(max(sums[i], lowest), highest))
    sums[:] = 0
