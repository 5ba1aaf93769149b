"""Windows: where in time a sample looks, and how a recording is cut into them by time or by count."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Alignment = Literal["centred", "causal"]
"""A window lies around its time, or ends there."""


@dataclass(frozen=True)
class Window:
    """A window of fixed length around, or before, the time of a sample (ValueError for an impossible one).

    `centred` is [t - length/2, t + length/2), as in the seed; `causal` is [t - length, t), which never sees the future.
    """

    length_ms: float
    alignment: Alignment = "centred"

    def __post_init__(self) -> None:
        """Refuse lengths under one microsecond and unknown alignments."""
        if not np.isfinite(self.length_ms) or self.length_us < 1:
            raise ValueError(f"length_ms is {self.length_ms!r}, allowed: finite and at least 0.001")
        if self.alignment not in get_args(Alignment):
            raise ValueError(f"alignment is {self.alignment!r}, allowed: {', '.join(get_args(Alignment))}")

    @property
    def length_us(self) -> int:
        """Length in whole microseconds."""
        return round(self.length_ms * 1000)

    def around(self, t_us: int) -> tuple[int, int]:
        """Return the half-open window [t0, t1) us of a sample at `t_us`; its length is exactly `length_us`."""
        t0 = t_us - (self.length_us if self.alignment == "causal" else self.length_us // 2)
        return t0, t0 + self.length_us


@dataclass(frozen=True)
class Cut:
    """One window of a stream: time [t0, t1) us, and its events by number, from `first_event` up to `end_event`."""

    t0: int
    t1: int
    first_event: int
    end_event: int

    @property
    def num_events(self) -> int:
        """Number of events in the window."""
        return self.end_event - self.first_event


def cut_by_time(t: NDArray[np.int64], length_ms: float, stride_ms: float | None = None) -> list[Cut]:
    """Cut sorted times (us) into windows of one length that start every `stride_ms` (default: end to end).

    The first window starts at the first event; only whole windows are returned (none reaches past the last event), so
    every one covers the same span. Raises ValueError for a length or stride under one microsecond.
    """
    length = Window(length_ms).length_us
    stride = length if stride_ms is None else Window(stride_ms).length_us
    _check_sorted(t)
    if not len(t):
        return []
    starts = np.arange(int(t[0]), int(t[-1]) + 2 - length, stride, dtype=np.int64)
    firsts = np.searchsorted(t, starts, side="left")
    ends = np.searchsorted(t, starts + length, side="left")
    return [Cut(int(t0), int(t0) + length, int(i), int(j)) for t0, i, j in zip(starts, firsts, ends, strict=True)]


def cut_by_count(t: NDArray[np.int64], num_events: int) -> list[Cut]:
    """Cut sorted times (us) into consecutive windows of `num_events` events each.

    A window holds more where several events share its last microsecond: those are never split, so cutting by the
    returned times and by the returned event numbers gives the same events. A remainder shorter than `num_events` is
    left out. Raises ValueError for num_events < 1.
    """
    if num_events < 1:
        raise ValueError(f"num_events is {num_events}, allowed: 1 or more")
    _check_sorted(t)
    cuts: list[Cut] = []
    first = 0
    while first + num_events <= len(t):
        t1 = int(t[first + num_events - 1]) + 1
        end = int(np.searchsorted(t, t1, side="left"))
        cuts.append(Cut(int(t[first]), t1, first, end))
        first = end
    return cuts


def _check_sorted(t: NDArray[np.int64]) -> None:
    if t.ndim != 1 or t.dtype.kind not in "iu":
        raise ValueError(f"t has dtype {t.dtype} and shape {t.shape}, expected a 1-D integer array of us")
    if (t[1:] < t[:-1]).any():
        raise ValueError("t is not sorted")
