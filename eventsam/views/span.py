"""Which part of a recording is shown, and where the windows in it begin."""

from dataclasses import dataclass

import numpy as np

from eventsam.io.recording import Recording
from eventsam.windows import Window


@dataclass(frozen=True)
class Span:
    """The time [t0, t1) us of a recording that is shown; `t_first` is the recording's first event, from which people
    count seconds.
    """

    t0: int
    t1: int
    t_first: int

    @property
    def duration(self) -> int:
        """Length in us."""
        return self.t1 - self.t0

    def seconds(self, t_us: int) -> float:
        """Return a time as seconds from the recording's first event."""
        return (t_us - self.t_first) / 1e6


def shown_span(recording: Recording, start_s: float | None = None, end_s: float | None = None) -> Span:
    """Return the span from `start_s` to `end_s` seconds after the first event; None is the recording's own end.

    Raises ValueError for a recording without events, and for a span that is empty or lies outside the recording.
    """
    if not recording.num_events:
        raise ValueError(f"{recording.path}: holds no events, there is nothing to show")
    first, last = recording.t_first_us, recording.t_last_us
    length_s = (last - first) / 1e6
    start = 0.0 if start_s is None else start_s
    end = length_s if end_s is None else end_s
    if not (np.isfinite(start) and np.isfinite(end)) or not 0 <= start <= min(end, length_s) or start == end < length_s:
        raise ValueError(
            f"{recording.path}: shown from {start:g} s to {end:g} s; allowed: 0 <= start < end, start within the "
            f"recording of {length_s:g} s"
        )
    t1 = last + 1 if end_s is None else min(last + 1, first + round(end * 1e6))
    return Span(first + round(start * 1e6), max(t1, first + round(start * 1e6) + 1), first)


def window_starts(span: Span, window_ms: float, stride_ms: float | None = None) -> range:
    """Return where (us) the windows begin that lie wholly within the span; one at least, however short the span.

    `stride_ms` None is end to end. Raises ValueError for lengths under one microsecond.
    """
    length = Window(window_ms).length_us
    stride = length if stride_ms is None else Window(stride_ms).length_us
    return range(span.t0, max(span.t0, span.t1 - length) + 1, stride)


def spread(starts: range, num_windows: int) -> list[int]:
    """Return up to `num_windows` of the starts, evenly spread, the first and the last among them."""
    if num_windows < 1:
        raise ValueError(f"num_windows is {num_windows}, allowed: 1 or more")
    chosen = np.linspace(0, len(starts) - 1, min(num_windows, len(starts)))
    return [starts[round(place)] for place in chosen]
