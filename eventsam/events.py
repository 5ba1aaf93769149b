"""Events: the struct of arrays that every reader returns and every representation takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

COLUMNS = {"x": np.dtype(np.uint16), "y": np.dtype(np.uint16), "t": np.dtype(np.int64), "p": np.dtype(np.uint8)}
"""The four columns and their exact dtypes: pixels, pixels, microseconds, polarity (1 brighter, 0 darker)."""

MAX_SIDE = 1 << 16
"""Largest sensor side that uint16 coordinates can address."""


@dataclass(frozen=True, eq=False, repr=False)
class Events:
    """Events of one sensor in time order: four 1-D arrays of one length and the sensor size in pixels.

    `x`, `y` uint16 in [0, width) and [0, height); `t` int64 us, non-decreasing; `p` uint8, 1 = brighter, 0 = darker.
    Construction checks all of it and raises ValueError saying what is wrong; it converts nothing (`from_arrays`
    does). The arrays are kept as read-only views: the caller's own arrays stay writable and untouched.
    """

    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    t: NDArray[np.int64]
    p: NDArray[np.uint8]
    height: int
    width: int

    def __post_init__(self) -> None:
        """Check the columns and freeze them."""
        _check_size(self.height, self.width, "events")
        _check_columns(self, "events")
        _check_values(self, "events")
        for name in COLUMNS:
            object.__setattr__(self, name, _frozen(getattr(self, name)))

    @classmethod
    def from_arrays(
        cls, x: ArrayLike, y: ArrayLike, t: ArrayLike, p: ArrayLike, *, height: int, width: int, source: str = "events"
    ) -> "Events":
        """Convert columns of any integer dtype (polarity also bool, -1/+1 or integral float) and check them.

        `t` must be integer microseconds: floats are refused because seconds lose their unit silently. `source` is the
        file or sample named in errors. Raises ValueError.
        """
        _check_size(height, width, source)
        events = trusted(
            _coordinates(np.asarray(x), "x", source),
            _coordinates(np.asarray(y), "y", source),
            _times(np.asarray(t), source),
            _polarities(np.asarray(p), source),
            height,
            width,
        )
        _check_columns(events, source)
        _check_values(events, source)
        return events

    @classmethod
    def empty(cls, height: int, width: int) -> "Events":
        """Return zero events of a sensor."""
        x, y, t, p = (np.empty(0, dtype) for dtype in COLUMNS.values())
        return cls(x, y, t, p, height, width)

    def __len__(self) -> int:
        """Number of events."""
        return len(self.t)

    def __repr__(self) -> str:
        """Size, span and sensor; never the arrays."""
        span = f", t={self.t[0]}..{self.t[-1]} us" if len(self) else ""
        return f"Events({len(self)}{span}, height={self.height}, width={self.width})"

    def between(self, t0: int, t1: int) -> "Events":
        """Return the events with t in [t0, t1) us, as views found by binary search; raise ValueError for t1 < t0."""
        if t1 < t0:
            raise ValueError(f"window ends before it starts: [{t0}, {t1}) us")
        first, end = (int(i) for i in np.searchsorted(self.t, np.array([t0, t1], np.int64), side="left"))
        return self.slice(first, end)

    def slice(self, first: int, end: int) -> "Events":
        """Return events number `first` up to `end` (exclusive), as views."""
        part = slice(first, end)
        return trusted(self.x[part], self.y[part], self.t[part], self.p[part], self.height, self.width)

    def crop(self, top: int, left: int, height: int, width: int) -> "Events":
        """Return the events inside a box of the sensor, in the box's own coordinates; raise ValueError outside it."""
        _check_size(height, width, "crop")
        if top < 0 or left < 0 or top + height > self.height or left + width > self.width:
            raise ValueError(
                f"crop top={top} left={left} height={height} width={width} leaves the sensor of "
                f"height {self.height}, width {self.width}"
            )
        inside = (self.y >= top) & (self.y < top + height) & (self.x >= left) & (self.x < left + width)
        x = self.x[inside] - np.uint16(left)
        y = self.y[inside] - np.uint16(top)
        return trusted(x, y, self.t[inside], self.p[inside], height, width)

    def flip_horizontal(self) -> "Events":
        """Mirror left and right: x becomes width - 1 - x."""
        return trusted(np.uint16(self.width - 1) - self.x, self.y, self.t, self.p, self.height, self.width)


def concatenate(parts: Sequence[Events]) -> Events:
    """Join parts of one sensor that follow each other in time; raise ValueError where sizes or order disagree."""
    if not parts:
        raise ValueError("nothing to concatenate: give at least one Events")
    height, width = parts[0].height, parts[0].width
    last = None
    for i, part in enumerate(parts):
        if (part.height, part.width) != (height, width):
            raise ValueError(f"part {i} has sensor {part.height}x{part.width}, part 0 has {height}x{width}")
        if not len(part):
            continue
        if last is not None and part.t[0] < last:
            raise ValueError(f"part {i} starts at {part.t[0]} us, before {last} us where the parts before it end")
        last = int(part.t[-1])
    x, y, t, p = (np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS)
    return trusted(x, y, t, p, height, width)


def trusted(x: NDArray[Any], y: NDArray[Any], t: NDArray[Any], p: NDArray[Any], height: int, width: int) -> Events:
    """Build Events without the checks, for columns that are right by construction."""
    events = object.__new__(Events)
    for name, value in zip(COLUMNS, (x, y, t, p), strict=True):
        object.__setattr__(events, name, _frozen(value))
    object.__setattr__(events, "height", height)
    object.__setattr__(events, "width", width)
    return events


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    # Contiguous, so that the compiled kernels need one specialisation only.
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _check_size(height: int, width: int, source: str) -> None:
    for name, value in (("height", height), ("width", width)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= MAX_SIDE:
            raise ValueError(f"{source}: {name} is {value!r}, allowed: an integer from 1 to {MAX_SIDE}")


def _check_columns(events: Events, source: str) -> None:
    for name, dtype in COLUMNS.items():
        column = getattr(events, name)
        if not isinstance(column, np.ndarray) or column.dtype != dtype:
            given = getattr(column, "dtype", type(column).__name__)
            raise ValueError(f"{source}: {name} is {given}, expected {dtype}; Events.from_arrays converts")
        if column.ndim != 1 or len(column) != len(events.t):
            raise ValueError(f"{source}: {name} has shape {column.shape}, t has {events.t.shape}: expected equal, 1-D")


def _check_values(events: Events, source: str) -> None:
    if not len(events):
        return
    for name, limit, side in (("x", events.width, "width"), ("y", events.height, "height")):
        largest = int(getattr(events, name).max())
        if largest >= limit:
            raise ValueError(f"{source}: {name} reaches {largest}, outside the sensor's {side} of {limit} pixels")
    if events.p.max() > 1:
        raise ValueError(f"{source}: p reaches {events.p.max()}, allowed: 0 (darker) and 1 (brighter)")
    backward = events.t[1:] < events.t[:-1]
    if backward.any():
        i = int(backward.argmax()) + 1
        raise ValueError(f"{source}: t goes back at event {i}, from {events.t[i - 1]} to {events.t[i]} us; sort first")


def _coordinates(column: NDArray[Any], name: str, source: str) -> NDArray[np.uint16]:
    if column.dtype == np.uint16:
        return column
    if not column.size:
        return column.astype(np.uint16)
    if column.dtype.kind not in "iu":
        raise ValueError(f"{source}: {name} has dtype {column.dtype}, expected whole pixels (an integer dtype)")
    if column.min() < 0 or column.max() >= MAX_SIDE:
        raise ValueError(f"{source}: {name} runs from {column.min()} to {column.max()}, allowed: 0 to {MAX_SIDE - 1}")
    return column.astype(np.uint16)


def _times(column: NDArray[Any], source: str) -> NDArray[np.int64]:
    if column.size and column.dtype.kind not in "iu":
        raise ValueError(f"{source}: t has dtype {column.dtype}, expected integer us (np.rint(seconds * 1e6) first)")
    if column.dtype == np.uint64 and column.size and column.max() > np.uint64(np.iinfo(np.int64).max):
        raise ValueError(f"{source}: t reaches {column.max()} us, more than int64 holds")
    return column.astype(np.int64, copy=False)


def _polarities(column: NDArray[Any], source: str) -> NDArray[np.uint8]:
    if column.dtype == np.uint8 or column.dtype == np.bool_ or not column.size:
        return column.astype(np.uint8, copy=False)
    if column.dtype.kind not in "iuf" or not np.isin(column, (-1, 0, 1)).all():
        raise ValueError(f"{source}: p holds values other than -1, 0, 1 (dtype {column.dtype})")
    return (column > 0).astype(np.uint8)
