"""A recording as a list of blocks that can be decoded each on its own: all that a format's reader has to provide."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import COLUMNS, Events, trusted
from eventsam.io.recording import CHUNK_EVENTS, Faults, OpenOptions, Recording, RecordingError

Columns = tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64], NDArray[np.uint8]]
"""x, y, t (us), p of one length."""

NO_PIXEL = 65535
"""Coordinate of an event whose pixel no sensor has (negative, or too large for uint16)."""


@dataclass(frozen=True, eq=False)
class BlockTable:
    """What is known of every block without decoding it: int64 (N,) number of events, smallest and largest time.

    The times of an empty block are never read. `place` int64 (N, S) is the source's own: where the block lies, in what
    state its decoder starts.
    """

    count: NDArray[np.int64]
    t_min: NDArray[np.int64]
    t_max: NDArray[np.int64]
    place: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[np.int64]]:
        """Return the columns by name, for `cached_index`."""
        return {"count": self.count, "t_min": self.t_min, "t_max": self.t_max, "place": self.place}


class BlockSource(ABC):
    """The events of one file, in blocks of bounded size (some 100,000 events) in file order."""

    @abstractmethod
    def table(self) -> BlockTable:
        """Return the table of blocks; raise RecordingError. Called once; long scans go through `cached_index`."""

    @abstractmethod
    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the block at `place` (S,) into columns of exactly its count; raise RecordingError.

        Coordinates that uint16 cannot hold become NO_PIXEL; p is 1 brighter, 0 darker. Called from several threads.
        """


class BlockRecording(Recording):
    """A recording over a `BlockSource`, with the policies of `OpenOptions` for time and pixels.

    Subclasses add frames, inertial samples and triggers. Raises RecordingError for a faulty file, naming it and what a
    policy could do about it.
    """

    def __init__(
        self, format_name: str, path: Path, size: tuple[int, int], source: BlockSource, options: OpenOptions
    ) -> None:
        """Read the table of blocks."""
        self.format, self.path, (self.height, self.width) = format_name, path, size
        self._source, self._options = source, options
        table = source.table()
        full = np.flatnonzero(table.count)
        self._count, self._place = table.count[full], table.place[full]
        self._t_min, self._t_max = table.t_min[full], table.t_max[full]
        self._entering = np.maximum.accumulate(self._t_max) if len(full) else self._t_max
        """Largest time up to each block's end."""
        self._counting = threading.Lock()
        if options.backward == "refuse":
            self._refuse_disorder(self._t_min[1:] < self._entering[:-1])

    def _refuse_disorder(self, backward: NDArray[np.bool_]) -> None:
        if backward.any():
            block = int(backward.argmax()) + 1
            self._fail_backward(int(self._count[:block].sum()), int(self._entering[block - 1]), int(self._t_min[block]))

    @property
    def num_events(self) -> int:
        """Number of events; those dropped outside the sensor are not counted."""
        dropped = self.faults().num_outside if self._options.outside == "drop" else 0
        return int(self._count.sum()) - dropped

    @cached_property
    def t_first_us(self) -> int:
        """Time of the first event; 0 where there is none."""
        return int(next((chunk.t[0] for chunk in self.chunks()), 0))

    @cached_property
    def t_last_us(self) -> int:
        """Time of the last event; 0 where there is none."""
        for block in reversed(range(len(self._count))):
            if len(events := self._decode(block, block + 1)):
                # Sorted by time the last is the largest, which another block may hold.
                whole = self._options.outside == "refuse" and self._options.backward == "sort"
                return int(self._t_max.max()) if whole else self._last_time(int(events.t[-1]), block)
        return 0

    def _last_time(self, t_last: int, block: int) -> int:
        if self._options.backward != "sort":
            return t_last
        overlapping = np.flatnonzero(self._t_max[:block] > t_last)
        later = [self._decode(int(i), int(i) + 1) for i in overlapping]
        return max([t_last, *(int(events.t[-1]) for events in later if len(events))])

    def read(self) -> Events:
        """Return all events (13 bytes each)."""
        if self._options.backward == "sort":
            return self._decode_some(np.arange(len(self._count)))
        return self._decode(0, len(self._count))

    def events(self, t0: int, t1: int) -> Events:
        """Return the events with t in [t0, t1) us; only blocks that can hold some are decoded."""
        if t1 < t0:
            raise ValueError(f"window ends before it starts: [{t0}, {t1}) us")
        if self._options.backward == "sort":
            chosen = np.flatnonzero((self._t_max >= t0) & (self._t_min < t1))
            return self._decode_some(chosen).between(t0, t1)
        # `_entering` is sorted: blocks before `first` end before t0. Time never falls below the largest so far, so a
        # block starts at or after that.
        first = int(np.searchsorted(self._entering, t0, side="left"))
        starts = np.maximum(self._t_min[1:], self._entering[:-1])
        end = int(np.searchsorted(starts, t1, side="left")) + 1
        end = min(end, len(self._count)) if len(self._count) and self._t_min[0] < t1 else first
        return self._decode(first, max(first, end)).between(t0, t1)

    def chunks(self, max_events: int = CHUNK_EVENTS) -> Iterator[Events]:
        """Return all events in order, at most `max_events` at a time."""
        if max_events < 1:
            raise ValueError(f"max_events is {max_events}, allowed: 1 or more")
        blocks = (self._decode(i, i + 1) for i in range(len(self._count)))
        for events in self._sorted(blocks) if self._options.backward == "sort" else blocks:
            for first in range(0, len(events), max_events):
                yield events.slice(first, min(first + max_events, len(events)))

    def faults(self) -> Faults:
        """Count what the policies mended; reads the whole recording once."""
        with self._counting:
            return self._faults

    @cached_property
    def _faults(self) -> Faults:
        largest, num_backward, num_outside = np.iinfo(np.int64).min, 0, 0
        for block in range(len(self._count)):
            x, y, t, _, orderly = self._columns(block, block + 1)
            backward, outside = (0, 0) if orderly else _count_faults(x, y, t, largest, self.height, self.width)
            largest = max(largest, int(self._entering[block]))
            num_backward, num_outside = num_backward + int(backward), num_outside + int(outside)
        return Faults(num_backward, num_outside)

    def _sorted(self, blocks: Iterator[Events]) -> Iterator[Events]:
        """Merge blocks whose times overlap: what is earlier than everything still to come is passed on."""
        rest = np.minimum.accumulate(self._t_min[::-1])[::-1]
        waiting: list[Events] = []
        for number, events in enumerate(blocks):
            waiting.append(events)
            together = _merged(waiting)
            bound = int(rest[number + 1]) if number + 1 < len(rest) else None
            end = len(together) if bound is None else int(np.searchsorted(together.t, bound, side="left"))
            if end:
                yield together.slice(0, end)
            waiting = [together.slice(end, len(together))]

    def _decode_some(self, blocks: NDArray[np.int64]) -> Events:
        if not len(blocks):
            return Events.empty(self.height, self.width)
        return _merged([self._decode(int(block), int(block) + 1) for block in blocks])

    def _decode(self, first: int, end: int) -> Events:
        """Return the events of blocks `first` up to `end`, in time order, under the policies."""
        x, y, t, p, orderly = self._columns(first, end)
        if orderly:
            return trusted(x, y, t, p, self.height, self.width)
        before = int(self._entering[first - 1]) if first else int(np.iinfo(np.int64).min)
        policy = self._options.backward
        start = int(t.min()) if policy == "sort" else before
        backward, outside = _count_faults(x, y, t, start, self.height, self.width)
        if backward and policy == "refuse":
            self._name_backward(first, t, before)
        if backward and policy == "running_maximum":
            # Before pixels are dropped: the clock that an event outside the sensor shows counts like any other's, in
            # this block as in the next.
            t = np.maximum.accumulate(np.maximum(t, before))
        if outside:
            x, y, t, p = self._within(first, x, y, t, p)
        if backward and policy == "sort":
            order = np.argsort(t, kind="stable")
            x, y, t, p = x[order], y[order], t[order], p[order]
        return trusted(x, y, t, p, self.height, self.width)

    def _columns(self, first: int, end: int) -> tuple[*Columns, bool]:
        """Return the columns as they are stored, and whether no policy has anything to mend."""
        starts = np.concatenate([[0], np.cumsum(self._count[first:end])])
        # Allocated here, in one piece and uninitialised: numpy asks for huge pages where compiled code does not.
        x, y, t, p = (np.empty(int(starts[-1]), dtype) for dtype in COLUMNS.values())
        all_orderly = True
        for block, (a, b) in enumerate(pairwise(starts), start=first):
            self._source.read_into(self._place[block], x[a:b], y[a:b], t[a:b], p[a:b])
            before = int(self._entering[block - 1]) if block else int(np.iinfo(np.int64).min)
            # Block by block, while its columns are in the cache.
            orderly = _is_orderly(x[a:b], y[a:b], t[a:b], before, self.height, self.width)
            all_orderly = all_orderly and orderly
            lowest, highest = (t[a], t[b - 1]) if orderly else (t[a:b].min(), t[a:b].max())
            if lowest < self._t_min[block] or highest > self._t_max[block]:
                raise RecordingError(
                    f"{self.path}: block {block} runs from {lowest} to {highest} us, its index says from "
                    f"{self._t_min[block]} to {self._t_max[block]} us: the index or the file is damaged"
                )
        return x, y, t, p, all_orderly

    def _within(self, first: int, *columns: NDArray[Any]) -> Columns:
        x, y, t, p = columns
        inside = (x < self.width) & (y < self.height)
        if self._options.outside == "refuse":
            number = int(np.argmin(inside))
            raise RecordingError(
                f"{self.path}: event {int(self._count[:first].sum()) + number} lies at x={x[number]}, y={y[number]}, "
                f"outside the sensor of height {self.height}, width {self.width}; outside='drop' leaves such events out"
            )
        return x[inside], y[inside], t[inside], p[inside]

    def _name_backward(self, first: int, t: NDArray[np.int64], before: int) -> None:
        previous = np.concatenate([[before], t[:-1]])
        number = int((t < previous).argmax())
        self._fail_backward(int(self._count[:first].sum()) + number, int(previous[number]), int(t[number]))

    def _fail_backward(self, number: int, before: int, after: int) -> None:
        raise RecordingError(
            f"{self.path}: time goes back at event {number}, from {before} to {after} us; backward='sort' sorts, "
            "backward='running_maximum' holds the time"
        )


def to_pixels(column: NDArray[Any]) -> NDArray[np.uint16]:
    """Return coordinates of any whole-number or float dtype as uint16; what is not a pixel becomes NO_PIXEL.

    Floats must be whole: a fraction would be lost, so it raises ValueError.
    """
    if column.dtype == np.uint16:
        return column
    if column.dtype.kind == "f" and not (np.isfinite(column) & (column == np.floor(column))).all():
        raise ValueError("coordinates are not whole pixels")
    inside = (column >= 0) & (column < NO_PIXEL)
    return np.where(inside, column, NO_PIXEL).astype(np.uint16)


def to_polarity(column: NDArray[Any]) -> NDArray[np.uint8]:
    """Return polarities of any dtype, 0/1 or -1/+1 or bool, as uint8 0/1; raise ValueError for other values."""
    if column.dtype == np.bool_:
        return column.view(np.uint8)
    if not np.isin(column, (-1, 0, 1)).all():
        raise ValueError("p holds values other than -1, 0, 1")
    return (column > 0).astype(np.uint8)


def from_seconds(column: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return seconds as whole microseconds (rounded to nearest); raise ValueError where one is no time int64 holds."""
    microseconds = np.rint(column * 1e6)
    if not (np.abs(microseconds) < 2.0**63).all():
        raise ValueError("a time is not a finite number of seconds")
    return microseconds.astype(np.int64)


class ColumnsSource(BlockSource):
    """Columns in memory as blocks, for formats that can only be read whole."""

    def __init__(self, columns: Columns, block_events: int = CHUNK_EVENTS) -> None:
        """Keep x, y (uint16), t (int64 us), p (uint8), in file order."""
        self._whole = columns
        self._block_events = block_events

    def table(self) -> BlockTable:
        """Return blocks of equal size."""
        t = self._whole[2]
        firsts = np.arange(0, len(t), self._block_events, dtype=np.int64)
        counts = np.minimum(self._block_events, len(t) - firsts)
        lows = np.minimum.reduceat(t, firsts) if len(t) else np.empty(0, np.int64)
        highs = np.maximum.reduceat(t, firsts) if len(t) else np.empty(0, np.int64)
        return BlockTable(counts, lows, highs, firsts[:, None])

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Copy the block."""
        part = slice(int(place[0]), int(place[0]) + len(t))
        x[:], y[:], t[:], p[:] = (column[part] for column in self._whole)


def _merged(parts: list[Events]) -> Events:
    """Join parts and sort them by time; equal times keep the order of the parts."""
    x, y, t, p = (np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS)
    if (t[1:] < t[:-1]).any():
        order = np.argsort(t, kind="stable")
        x, y, t, p = x[order], y[order], t[order], p[order]
    return trusted(x, y, t, p, parts[0].height, parts[0].width)


@compiled
def _is_orderly(
    x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64], before: int, height: int, width: int
) -> bool:
    """Return whether no event is earlier than one before it and none lies outside: loops without branches."""
    num_backward = np.int64(0)
    for i in range(1, t.size):
        num_backward += t[i] < t[i - 1]
    x_max, y_max = np.uint16(0), np.uint16(0)
    for i in range(x.size):
        x_max = max(x_max, x[i])
    for i in range(y.size):
        y_max = max(y_max, y[i])
    return bool(num_backward == 0 and t[0] >= before and x_max < width and y_max < height)


@compiled
def _count_faults(
    x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64], before: int, height: int, width: int
) -> tuple[int, int]:
    """Return how many events are earlier than the largest time so far, and how many lie outside the sensor."""
    largest = np.int64(before)
    backward, outside = 0, 0
    for i in range(t.size):
        backward += t[i] < largest
        largest = max(largest, t[i])
        outside += (x[i] >= width) | (y[i] >= height)
    return backward, outside
