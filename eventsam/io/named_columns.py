"""Columns found by their names (x, ys, timestamp_us, ...), and times of any unit as whole microseconds."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eventsam.io.recording import RecordingError
from eventsam.unknown_name import unknown_name

Unit = Literal["s", "ms", "us", "ns"]

ALIASES = {
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "p": ("p", "ps", "pol", "polarity", "polarities"),
}
"""Names of the four columns, in any case; a time's may end in its unit: `t_us`, `timestamp_ns`, `t[s]`, `time(ms)`."""

SIZE_NAMES = (("height", "width"), ("H", "W"), ("h", "w"))

PER_US: dict[Unit, float] = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}

_UNIT = re.compile(r"(.+?)(?:_(s|ms|us|ns)|\s?[\[(](s|ms|us|ns)[\])])")


@dataclass(frozen=True)
class ColumnNames:
    """The names under which a file holds the four columns, and the time's unit where its name states it."""

    x: str
    y: str
    t: str
    p: str
    unit: Unit | None = None


def column_of(name: str) -> tuple[str, Unit | None] | None:
    """Return (column, unit of a time where the name states it) of a name, None where it names no column."""
    word = name.strip().lower()
    ending = _UNIT.fullmatch(word)
    for column, aliases in ALIASES.items():
        if word in aliases:
            return column, None
        if column == "t" and ending and ending[1] in aliases:
            return column, next(unit for unit in get_args(Unit) if unit in (ending[2], ending[3]))
    return None


def match_columns(names: Iterable[str]) -> ColumnNames | None:
    """Return which names are the four columns; None where one is missing or named twice."""
    found: dict[str, str] = {}
    unit: Unit | None = None
    for name in names:
        meaning = column_of(name)
        if meaning is None:
            continue
        if meaning[0] in found:
            return None
        found[meaning[0]] = name
        unit = meaning[1] or unit
    return ColumnNames(**found, unit=unit) if len(found) == len(ALIASES) else None


def choose_stream(path: Path, groups: Mapping[str, ColumnNames], stream: str | None, holds: str) -> str:
    """Return the group of columns that `stream` names, or the only one; raise RecordingError listing them.

    `holds` says what the file has instead, for the error where it has no group.
    """
    if not groups:
        names = "; ".join(f"{column}: {' or '.join(aliases)}" for column, aliases in ALIASES.items())
        raise RecordingError(f"{path}: no events found under the names known ({names}); the file holds {holds}")
    if stream is not None:
        name = stream.strip("/")
        if name not in groups:
            raise RecordingError(f"{path}: {unknown_name('stream', name, groups)}")
        return name
    if len(groups) > 1:
        raise RecordingError(f"{path}: several event streams, choose one by stream=...: {', '.join(groups)}")
    return next(iter(groups))


@dataclass(frozen=True)
class Clock:
    """How a stored time becomes microseconds: its unit, and the microseconds to add."""

    unit: Unit
    offset_us: int = 0

    @classmethod
    def of(cls, dtype: np.dtype[Any], unit: Unit | None = None, offset_us: int = 0) -> "Clock":
        """Return the clock of a column: the unit that its file states, else integers are us and floats seconds."""
        return cls(unit or ("s" if dtype.kind == "f" else "us"), offset_us)

    def __call__(self, column: NDArray[Any]) -> NDArray[np.int64]:
        """Return int64 us, rounded to nearest; raise ValueError where int64 cannot hold one."""
        whole = self._from_floats(column) if column.dtype.kind == "f" else self._from_integers(column)
        if self.offset_us and len(whole):
            _check_range(int(whole.min()) + self.offset_us, int(whole.max()) + self.offset_us)
            whole = whole + np.int64(self.offset_us)
        return whole

    def _from_floats(self, column: NDArray[Any]) -> NDArray[np.int64]:
        with np.errstate(over="ignore", invalid="ignore"):
            microseconds = np.rint(column.astype(np.float64) * PER_US[self.unit])
            if not (np.abs(microseconds) < 2.0**63).all():
                raise ValueError("a time is not a finite number that int64 us can hold")
        return microseconds.astype(np.int64)

    def _from_integers(self, column: NDArray[Any]) -> NDArray[np.int64]:
        if not len(column):
            return np.empty(0, np.int64)
        factor = round(PER_US[self.unit]) if self.unit != "ns" else 1
        _check_range(int(column.min()) * factor, int(column.max()) * factor)
        ticks = column.astype(np.int64)
        if self.unit != "ns":
            return ticks if factor == 1 else ticks * factor
        microseconds, rest = np.divmod(ticks, 1000)
        return np.asarray(microseconds + (rest >= 500), np.int64)


def _check_range(smallest: int, largest: int) -> None:
    limits = np.iinfo(np.int64)
    if smallest < limits.min or largest > limits.max:
        raise ValueError(f"times run from {smallest} to {largest} us, more than int64 holds")


def whole_clock(column: NDArray[Any], unit: Unit | None = None) -> Clock:
    """Return the clock of a MATLAB column, where all numbers are floats: whole ones are us, else they are seconds."""
    if unit is None and column.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            unit = "us" if bool((column == np.floor(column)).all()) else "s"
    return Clock.of(column.dtype, unit)
