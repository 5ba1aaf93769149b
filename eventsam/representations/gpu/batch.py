"""Many windows of events as four flat columns on one device: 9 bytes per event, no padding."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventsam.compiled import compiled
from eventsam.events import Events
from eventsam.representations.histogram import Ends
from eventsam.representations.window_image import check_choice

MAX_WINDOW_US = 1 << 31
"""Longest window: times are int32 from its start (35.8 minutes)."""
MAX_WINDOW_EVENTS = 1 << 30
"""Most events of a window: twice an event's number and its polarity share an int32."""

Window = tuple[Events, int, int]
"""Events of a sensor and the bounds t0, t1 us of the half-open window to take from them."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """Where each of B windows lies, as int64 arrays that stay on the CPU.

    Launches are sized and time axes computed from them, which spares asking the device and waiting for its answer.
    `offsets` (B + 1,): window w holds the events from offsets[w] up to offsets[w + 1]. `t0`, `t1` (B,): its bounds in
    us. `first`, `last` (B,): the times of its first and last event in us, both t0 where it has none.
    """

    offsets: NDArray[np.int64]
    t0: NDArray[np.int64]
    t1: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def narrow(self, first: int, end: int) -> "Bounds":
        """Return the bounds of windows `first` up to `end`, whose events count from 0 again."""
        offsets = self.offsets[first : end + 1]
        times = (column[first:end] for column in (self.t0, self.t1, self.first, self.last))
        return Bounds(offsets - offsets[0], *times)


@dataclass(frozen=True, eq=False, repr=False)
class EventBatch:
    """B windows of N events in all, of one sensor.

    `xy` (N,) int32: y << 16 | x; `p` (N,) uint8: 1 brighter, 0 darker; `dt` (N,) int32: us since the window's t0;
    `offsets` (B + 1,) int64: window w holds the events from offsets[w] up to offsets[w + 1], in time order. These lie
    on one device; `bounds` says the same and more on the CPU. `ends` says whether events at t1 are in.
    """

    xy: Tensor
    p: Tensor
    dt: Tensor
    offsets: Tensor
    bounds: Bounds
    height: int
    width: int
    ends: Ends = "half_open"

    @classmethod
    def pack(
        cls, windows: Sequence[Window], ends: Ends = "half_open", pinned: bool | None = None, num_threads: int = 1
    ) -> "EventBatch":
        """Copy the events of windows (events, t0, t1) into one batch on the CPU.

        `ends` "inclusive" takes the events at t1 too, for representations that count them (`Histogram`). `pinned`
        memory travels to a GPU without waiting (`to(..., non_blocking=True)`); None pins where there is CUDA.
        Raises ValueError for no windows, sensors of different sizes, t1 < t0, and a window of more than 2^31 us or 2^30
        events.
        """
        if not windows:
            raise ValueError("nothing to pack: give at least one window (events, t0, t1)")
        check_choice("ends", ends, get_args(Ends))
        parts = [_cut(number, *window, ends) for number, window in enumerate(windows)]
        bounds = _bounds(windows, parts)
        height, width = _one_size(parts)
        pin = torch.cuda.is_available() if pinned is None else pinned
        num_events = int(bounds.offsets[-1])
        xy, dt = (torch.empty(num_events, dtype=torch.int32, pin_memory=pin) for _ in range(2))
        p = torch.empty(num_events, dtype=torch.uint8, pin_memory=pin)
        offsets = torch.empty(len(parts) + 1, dtype=torch.int64, pin_memory=pin)
        offsets.numpy()[:] = bounds.offsets
        packed_xy, packed_dt, packed_p = xy.numpy().view(np.uint32), dt.numpy(), p.numpy()

        def fill(number: int) -> None:
            place = slice(bounds.offsets[number], bounds.offsets[number + 1])
            part = parts[number]
            _pack(part.x, part.y, part.t, bounds.t0[number], packed_xy[place], packed_dt[place])
            packed_p[place] = part.p

        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(fill, range(len(parts))))
        return cls(xy, p, dt, offsets, bounds, height, width, ends)

    def __len__(self) -> int:
        """Number of windows, B."""
        return len(self.bounds.t0)

    def __repr__(self) -> str:
        """Counts, sensor and device; never the columns."""
        return (
            f"EventBatch({len(self)} windows, {len(self.xy)} events, height={self.height}, width={self.width}, "
            f"device={str(self.device)!r})"
        )

    @property
    def device(self) -> torch.device:
        """Where the columns lie."""
        return self.xy.device

    @property
    def nbytes(self) -> int:
        """Bytes that `to` moves."""
        return sum(column.nbytes for column in (self.xy, self.p, self.dt, self.offsets))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "EventBatch":
        """Return the batch with its columns on a device.

        `non_blocking` returns while pinned columns are still on their way; work queued on the device after it sees them
        arrived, and the packed batch must be kept until then.
        """
        columns = (self.xy, self.p, self.dt, self.offsets)
        xy, p, dt, offsets = (column.to(device, non_blocking=non_blocking) for column in columns)
        return replace(self, xy=xy, p=p, dt=dt, offsets=offsets)

    def narrow(self, first: int, end: int) -> "EventBatch":
        """Return windows `first` up to `end`, sharing the columns' memory."""
        if not 0 <= first < end <= len(self):
            raise ValueError(f"windows {first} to {end} are not a part of {len(self)}")
        bounds = self.bounds.narrow(first, end)
        start = int(self.bounds.offsets[first])
        part = slice(start, start + int(bounds.offsets[-1]))
        offsets = self.offsets[first : end + 1] - start
        return replace(self, xy=self.xy[part], p=self.p[part], dt=self.dt[part], offsets=offsets, bounds=bounds)


def _cut(number: int, events: Events, t0: int, t1: int, ends: Ends) -> Events:
    # An event at t1 is one us more to hold.
    end = t1 + 1 if ends == "inclusive" and t1 >= t0 else t1
    if end - t0 > MAX_WINDOW_US:
        raise ValueError(f"window {number} is [{t0}, {end}), {end - t0} us long; allowed: up to {MAX_WINDOW_US} us")
    try:
        part = events.between(t0, end)
    except ValueError as error:
        raise ValueError(f"window {number}: {error}") from error
    if len(part) > MAX_WINDOW_EVENTS:
        raise ValueError(f"window {number} holds {len(part)} events; allowed: up to {MAX_WINDOW_EVENTS}")
    return part


def _one_size(parts: Sequence[Events]) -> tuple[int, int]:
    height, width = parts[0].height, parts[0].width
    for number, part in enumerate(parts):
        if (part.height, part.width) != (height, width):
            raise ValueError(
                f"window {number} is of a sensor {part.height}x{part.width}, window 0 of {height}x{width} "
                "(height x width); a batch holds one size"
            )
    return height, width


def _bounds(windows: Sequence[Window], parts: Sequence[Events]) -> Bounds:
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    t0 = np.array([t0 for _, t0, _ in windows], np.int64)
    t1 = np.array([t1 for _, _, t1 in windows], np.int64)
    first = np.array([part.t[0] if len(part) else t0[i] for i, part in enumerate(parts)], np.int64)
    last = np.array([part.t[-1] if len(part) else t0[i] for i, part in enumerate(parts)], np.int64)
    return Bounds(offsets, t0, t1, first, last)


@compiled
def _pack(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    t0: np.int64,
    xy: NDArray[np.uint32],
    dt: NDArray[np.int32],
) -> None:
    for i in range(x.size):
        xy[i] = (np.uint32(y[i]) << np.uint32(16)) | np.uint32(x[i])
        dt[i] = np.int32(t[i] - t0)
