"""Event rates over time: counted in bounded memory, and drawn."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from eventsam.io.recording import Recording
from eventsam.report.canvas import INK, draw_panels
from eventsam.views.span import Span

MIN_BINS, MAX_BINS = 40, 400
"""A plot has at most so many bins, and no more than the events are enough for, but some."""
BIN_EVENTS = 30
"""Events per bin below which chance draws the curve."""
SLICE_EVENTS = 2_000_000
"""Events read at a time, on average."""
ON_COLOUR, OFF_COLOUR = "#D55E00", "#0072B2"
"""Brighter and darker, told apart by every eye (Okabe & Ito)."""
UNITS = ((1e6, "Mev/s"), (1e3, "kev/s"), (1.0, "ev/s"))

Through = Callable[[Sequence[int]], Iterable[int]]
"""Hands the slices on one by one; a progress bar may look on."""


@dataclass(frozen=True, eq=False)
class Rates:
    """Counts per bin of `bin_length` us from `span.t0` on: `num_on`, `num_off` int64 (B,); the last bin may be cut."""

    span: Span
    bin_length: int
    num_on: NDArray[np.int64]
    num_off: NDArray[np.int64]

    @property
    def edges(self) -> NDArray[np.int64]:
        """Where the bins begin, and where the last one ends: int64 us (B + 1,)."""
        starts = self.span.t0 + np.arange(len(self.num_on), dtype=np.int64) * self.bin_length
        return np.append(starts, self.span.t1)

    @property
    def per_second(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rates of brighter and of darker events, per second, per bin."""
        seconds = np.diff(self.edges) / 1e6
        return self.num_on / seconds, self.num_off / seconds


def nice_bin_length(duration: int, num_bins: int) -> int:
    """Return 1, 2 or 5 times a power of ten us: the shortest that needs no more than `num_bins` bins."""
    length = 1
    while True:
        for factor in (1, 2, 5):
            if duration <= factor * length * num_bins:
                return factor * length
        length *= 10


def count_rates(recording: Recording, span: Span, bin_length: int | None = None, through: Through = iter) -> Rates:
    """Count the span's events by bins; the recording is read slice by slice.

    `bin_length` in us; None chooses one for a plot. Raises ValueError for a bin under one microsecond.
    """
    per_us = recording.num_events / (recording.t_last_us - recording.t_first_us + 1)
    if bin_length is None:
        num_bins = int(np.clip(span.duration * per_us / BIN_EVENTS, MIN_BINS, MAX_BINS))
        bin_length = nice_bin_length(span.duration, num_bins)
    if bin_length < 1:
        raise ValueError(f"bin_length is {bin_length}, allowed: 1 us or more")
    length, num_bins = bin_length, -(-span.duration // bin_length)
    num_on, num_off = np.zeros(num_bins, np.int64), np.zeros(num_bins, np.int64)
    bins_per_slice = int(np.clip(SLICE_EVENTS / (per_us * length), 1, num_bins))
    for first in through(range(0, num_bins, bins_per_slice)):
        end = min(first + bins_per_slice, num_bins)
        events = recording.events(span.t0 + first * length, min(span.t0 + end * length, span.t1))
        bins = (events.t - span.t0) // length
        brighter = events.p == 1
        num_on[first:end] += np.bincount(bins[brighter] - first, minlength=end - first)
        num_off[first:end] += np.bincount(bins[~brighter] - first, minlength=end - first)
    return Rates(span, length, num_on, num_off)


def plot_rates(rates: Rates, name: str) -> bytes:
    """Draw the rates of brighter and darker events, and of both together, as a PNG."""
    on, off = rates.per_second
    total = on + off
    scale, unit = next((entry for entry in UNITS if total.max(initial=0.0) >= entry[0]), UNITS[-1])
    num_events = int(rates.num_on.sum() + rates.num_off.sum())
    seconds = rates.span.duration / 1e6
    edges = (rates.edges - rates.span.t_first) / 1e6

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        axis = axes[0]
        axis.stairs(total / scale, edges, fill=True, color="#E3E8EC", label="both")
        axis.stairs(on / scale, edges, color=ON_COLOUR, linewidth=1.3, baseline=None, label="brighter (ON)")
        axis.stairs(off / scale, edges, color=OFF_COLOUR, linewidth=1.3, baseline=None, label="darker (OFF)")
        axis.set_title(
            f"{name}: {num_events:,} events in {duration_text(seconds)}, mean {rate_text(num_events, seconds)}"
        )
        axis.set_xlabel(f"seconds from the first event (bins of {duration_text(rates.bin_length / 1e6)})")
        axis.set_ylabel(unit)
        axis.set_xlim(edges[0], edges[-1])
        # Room for the legend above the highest bin.
        axis.set_ylim(0, max(float(total.max(initial=0.0)) / scale, 1e-9) * 1.22)
        axis.legend(loc="upper right", labelcolor=INK, ncols=3, handlelength=1.4, borderaxespad=0.2)

    return draw_panels(1, 1, (9.0, 3.2), draw)


def duration_text(seconds: float) -> str:
    """Return a duration for people: the unit in which it is 1 or more."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= scale or unit == "us":
            return f"{seconds / scale:.3g} {unit}"
    raise AssertionError("unreachable")


def rate_text(num_events: int, seconds: float) -> str:
    """Return a mean rate for people."""
    rate = num_events / max(seconds, 1e-6)
    scale, unit = next((entry for entry in UNITS if rate >= entry[0]), UNITS[-1])
    return f"{rate / scale:.3g} {unit}"
