"""Stacked histogram: events counted per polarity and time bin."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events
from eventsam.representations import Cost
from eventsam.representations.colours import signed_rgb
from eventsam.representations.pixels import pixel_of
from eventsam.representations.tencode import Reference
from eventsam.representations.time_bins import bin_start_ages, even_shares, first_at
from eventsam.representations.window_image import (
    BYTES_PER_PIXEL_AND_POLARITY,
    WindowImage,
    check_choice,
    check_count,
    select,
)

Ends = Literal["half_open", "inclusive"]
"""Which events a window holds: t0 <= t < t1 as everywhere here, or t0 <= t <= t1 as RVT cuts its windows."""

MAX_COUNT = 255


@dataclass(frozen=True)
class Histogram(WindowImage):
    """Stacked histogram (2 K, H, W) uint8 of a window (RVT, Gehrig and Scaramuzza, CVPR 2023, section 3.1).

    Channel p K + b counts the events of polarity p in time bin b: darker ones in channels 0 to K - 1, brighter ones
    after them. Counts stop at `count_cutoff` (None: at 255). With `wrapping` they are kept modulo 256 first, as RVT's
    `fastmode` does: for parity with files that it made.

    `reference` says what the bins divide. "events" is RVT's: the time from the first to the last event, in its
    arithmetic, b = min(floor(float32(t - t0) / float32(max(t1 - t0, 1)) * K), K - 1) all in float32. "window" divides
    [t0, t1), exactly: b = (t - t0) K // (t1 - t0). One instant lies in bin 0. With `ends="inclusive"` events at t1
    count too (in the last bin), which is how RVT cuts its windows.
    """

    num_bins: int = 10
    count_cutoff: int | None = 10
    wrapping: bool = False
    reference: Reference = "events"
    ends: Ends = "half_open"

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.uint8)

    def __post_init__(self) -> None:
        """Refuse impossible counts and unknown choices."""
        check_count("num_bins", self.num_bins, 1)
        if self.count_cutoff is not None:
            check_count("count_cutoff", self.count_cutoff, 1, MAX_COUNT)
        check_choice("reference", self.reference, get_args(Reference))
        check_choice("ends", self.ends, get_args(Ends))

    @property
    def num_channels(self) -> int:
        """K bins of each polarity."""
        return 2 * self.num_bins

    @property
    def starts_from_zero(self) -> bool:
        """No: every count is written."""
        return False

    def bin_starts(self, t0: int, t1: int) -> NDArray[np.int64]:
        """Return (K,) int64: the first time in us of each bin of a stretch of time from t0 to t1 us."""
        duration = t1 - t0
        if self.reference == "events":
            return t0 + bin_start_ages(duration, even_shares(self.num_bins))
        # (t - t0) K // d >= b means t - t0 >= ceil(b d / K); Python integers, as b d may not fit 64 bits.
        starts = [t0 - (-b * duration) // self.num_bins for b in range(self.num_bins)]
        return np.array(starts if duration > 0 else [t0] + [t0 + 1] * (self.num_bins - 1), np.int64)

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return brighter less darker counts as uint8 (3, H, W): red where brighter, blue where darker."""
        self._check_image(image, f"a histogram of {self.num_bins} bins")
        darker, brighter = image[: self.num_bins], image[self.num_bins :]
        return signed_rgb(brighter.sum(axis=0, dtype=np.int64) - darker.sum(axis=0, dtype=np.int64))

    def cost(self, num_events: int, height: int, width: int) -> Cost:
        """Return the cost: x, y, p of each event, a byte per count out, no scratch."""
        return Cost(num_events * BYTES_PER_PIXEL_AND_POLARITY, 2 * self.num_bins * height * width, 0)

    def _select(self, events: Events, t0: int, t1: int) -> Events:
        return select(events, t0, t1 + 1 if self.ends == "inclusive" and t1 >= t0 else t1)

    def _draw(self, window: Events, t0: int, t1: int, image: NDArray[Any]) -> None:
        if not len(window):
            image.fill(0)
            return
        if self.reference == "events":
            t0, t1 = int(window.t[0]), int(window.t[-1])
        cutoff = MAX_COUNT if self.count_cutoff is None else self.count_cutoff
        starts, width = self.bin_starts(t0, t1), np.uint32(window.width)
        counts = image.reshape(-1)
        if self.wrapping:
            _count_wrapping(window.x, window.y, window.t, window.p, starts, width, cutoff, counts)
        else:
            _count_saturating(window.x, window.y, window.t, window.p, starts, width, cutoff, counts)


@compiled
def _clear_bin(counts: NDArray[np.uint8], b: int, num_bins: int) -> None:
    # Just before its events come: two planes in cache, not the whole image at first and from memory again.
    plane = counts.size // (2 * num_bins)
    counts[b * plane : (b + 1) * plane] = np.uint8(0)
    counts[(num_bins + b) * plane : (num_bins + b + 1) * plane] = np.uint8(0)


@compiled
def _count_saturating(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    starts: NDArray[np.int64],
    width: np.uint32,
    cutoff: int,
    counts: NDArray[np.uint8],
) -> None:
    num_bins, limit, first = starts.size, np.uint8(cutoff), 0
    plane = counts.size // (2 * num_bins)
    polarity_step = np.uint64(num_bins * plane)
    for b in range(num_bins):
        end = t.size if b == num_bins - 1 else first_at(t, starts[b + 1], first)
        xs, ys, ps = x[first:end], y[first:end], p[first:end]
        darker = counts[b * plane :]
        _clear_bin(counts, b, num_bins)
        for i in range(xs.size):
            at = pixel_of(xs[i], ys[i], width) + np.uint64(ps[i]) * polarity_step
            count = darker[at]
            # Stops by itself: no pass over the image to clamp it, no branch on the data.
            darker[at] = count + np.uint8(count < limit)
        first = end


@compiled
def _count_wrapping(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    starts: NDArray[np.int64],
    width: np.uint32,
    cutoff: int,
    counts: NDArray[np.uint8],
) -> None:
    num_bins, limit, first = starts.size, np.uint8(cutoff), 0
    plane = counts.size // (2 * num_bins)
    polarity_step = np.uint64(num_bins * plane)
    for b in range(num_bins):
        end = t.size if b == num_bins - 1 else first_at(t, starts[b + 1], first)
        xs, ys, ps = x[first:end], y[first:end], p[first:end]
        darker = counts[b * plane :]
        _clear_bin(counts, b, num_bins)
        for i in range(xs.size):
            at = pixel_of(xs[i], ys[i], width) + np.uint64(ps[i]) * polarity_step
            darker[at] += np.uint8(1)
        first = end
    for i in range(counts.size):
        counts[i] = min(counts[i], limit)
