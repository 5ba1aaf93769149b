"""Time surface: how recent the last event of each polarity is at each pixel, as an exponential decay."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, isfinite, log2
from typing import Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events
from eventsam.representations import Cost
from eventsam.representations.colours import signed_rgb
from eventsam.representations.pixels import pixel_of
from eventsam.representations.tencode import Reference
from eventsam.representations.time_bins import first_at
from eventsam.representations.window_image import BYTES_PER_EVENT, WindowImage, check_choice

DEEPEST = 87
"""Ages of more than so many time constants show as 0: exp(-87) is about the smallest normal float32 (GPUs flush those
below it)."""
AGE_BITS = 21
"""Ages are rounded to 2^-21 time constants or finer: an error of at most 2.4e-7 of the value, less than the tables'."""


@dataclass(frozen=True, eq=False)
class DecayTables:
    """exp(-age / tau) as the float32 product coarse[q >> fine_bits] * fine[q & (2^fine_bits - 1)].

    q = ((age_us + rounding) >> shift) + 2^fine_bits for ages up to `oldest_us`, and q = 0 for older ones and where
    there was no event: coarse[0] is 0. Built in float64 and rounded once; with the product that makes a relative error
    below 5e-7. Whoever looks the same q up in the same tables gets the same bits: a GPU gathers and multiplies.
    """

    shift: int
    rounding: int
    fine_bits: int
    oldest_us: int
    coarse: NDArray[np.float32]
    fine: NDArray[np.float32]


@lru_cache(maxsize=16)
def decay_tables(tau_ms: float) -> DecayTables:
    """Return the tables of a time constant; a few hundred to a few ten thousand entries."""
    tau = tau_ms * 1000.0
    # Microseconds are finer than needed where tau is long: a coarser unit keeps the tables in cache.
    shift = max(0, floor(log2(tau)) - AGE_BITS)
    unit, rounding = float(1 << shift), (1 << shift) >> 1
    oldest = floor(DEEPEST * tau)
    last = (oldest + rounding) >> shift
    fine_bits = ceil(log2(last + 2) / 2)
    steps = np.arange((last >> fine_bits) + 1, dtype=np.float64) * (unit * (1 << fine_bits))
    coarse = np.concatenate([[0.0], np.exp(-steps / tau)]).astype(np.float32)
    fine = np.exp(-np.arange(1 << fine_bits, dtype=np.float64) * unit / tau).astype(np.float32)
    for table in (coarse, fine):
        table.flags.writeable = False
    return DecayTables(shift, rounding, fine_bits, oldest, coarse, fine)


@dataclass(frozen=True)
class TimeSurface(WindowImage):
    """Time surface (2, H, W) float32 of a window (HOTS, Lagorce et al., TPAMI 2017, section 3.2).

    exp(-(t_ref - t) / tau) with t the last event of polarity p (channel p) at the pixel, 0 where there was none.
    `reference` says what t_ref is: the window's end t1, or the last event (whose own value then is 1). For surfaces
    with memory over a recording's slices, let the windows start where the recording does.

    The exponential comes from two small tables (`DecayTables`): relative error below 1e-6, the same bits on every
    machine that uses the same tables; ages beyond 87 tau, 1.6e-38, are 0.
    """

    tau_ms: float = 50.0
    reference: Reference = "window"

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)

    def __post_init__(self) -> None:
        """Refuse a time constant below a microsecond, and unknown references."""
        if isinstance(self.tau_ms, bool) or not isinstance(self.tau_ms, int | float) or not isfinite(self.tau_ms):
            raise ValueError(f"tau_ms is {self.tau_ms!r}, allowed: a number from 0.001 to 1e9 milliseconds")
        if not 0.001 <= self.tau_ms <= 1e9:
            raise ValueError(f"tau_ms is {self.tau_ms!r}, allowed: a number from 0.001 to 1e9 milliseconds")
        check_choice("reference", self.reference, get_args(Reference))

    @property
    def num_channels(self) -> int:
        """Darker, brighter."""
        return 2

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return brighter less darker values as uint8 (3, H, W): red where last brighter, blue where last darker."""
        self._check_image(image, "a time surface")
        return signed_rgb(image[1].astype(np.float64) - image[0])

    def cost(self, num_events: int, height: int, width: int) -> Cost:
        """Return the cost: every column of each event, four bytes per value out; the tables as scratch."""
        tables = decay_tables(self.tau_ms)
        return Cost(num_events * BYTES_PER_EVENT, 2 * 4 * height * width, 4 * (tables.coarse.size + tables.fine.size))

    def _draw(self, window: Events, t0: int, t1: int, image: NDArray[Any]) -> None:
        if not len(window):
            return
        tables = decay_tables(self.tau_ms)
        t_ref = t1 if self.reference == "window" else int(window.t[-1])
        values = image.reshape(-1)
        _draw_surface(
            window.x,
            window.y,
            window.t,
            window.p,
            np.uint32(window.width),
            t_ref,
            tables.oldest_us,
            tables.shift,
            tables.rounding,
            tables.fine_bits,
            tables.coarse,
            tables.fine,
            values.view(np.uint32),
            values,
        )


@compiled
def _draw_surface(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    width: np.uint32,
    t_ref: int,
    oldest: int,
    shift: int,
    rounding: int,
    fine_bits: int,
    coarse: NDArray[np.float32],
    fine: NDArray[np.float32],
    words: NDArray[np.uint32],
    values: NDArray[np.float32],
) -> None:
    # Events too old to show are not looked at: their place in the tables is that of an untouched pixel, 0.
    first = first_at(t, t_ref - oldest, 0)
    xs, ys, ts, ps = x[first:], y[first:], t[first:], p[first:]
    plane, base = np.uint64(values.size >> 1), (1 << fine_bits)
    high, mask = np.uint32(fine_bits), np.uint32(base - 1)
    if xs.size <= values.size >> 1:
        # Few events: look each one up, which time order makes a walk along the tables.
        for i in range(xs.size):
            at = pixel_of(xs[i], ys[i], width) + np.uint64(ps[i]) * plane
            word = np.uint32(((t_ref - ts[i] + rounding) >> shift) + base)
            values[at] = coarse[word >> high] * fine[word & mask]
    else:
        # Many events: only the last ones. `words` is the memory of `values`, replaced in place by what stands there.
        for i in range(xs.size):
            at = pixel_of(xs[i], ys[i], width) + np.uint64(ps[i]) * plane
            words[at] = np.uint32(((t_ref - ts[i] + rounding) >> shift) + base)
        for i in range(words.size):
            word = words[i]
            values[i] = coarse[word >> high] * fine[word & mask]
