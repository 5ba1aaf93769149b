"""Metric states that workers fill apart and merge exactly: one value per sample, or a plain mean."""

import math
from collections.abc import Iterable
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class MetricState(Protocol):
    """What the engine needs of a metric: merge it, ship it as an array, read its mean.

    Rows of `to_array` may be stacked: `from_array` of several workers' rows is their merge.
    """

    def merge(self, other: Self) -> Self:
        """Return the state of both, the same in any order and grouping; neither is changed."""

    def mean(self) -> float:
        """Return the value to report; NaN for an empty state."""

    def to_array(self) -> Array:
        """Return the state as (n, 2) float64."""

    @classmethod
    def from_array(cls, array: Array) -> Self:
        """Rebuild a state from `to_array`'s rows, in any order."""


class PerSample:
    """One float64 value per sample index. A sample seen again (padding of the last batch) counts once.

    Where its two values differ, as they may in the last bit when batches differ, the smaller one is kept, so that the
    merge stays commutative and associative; NaN wins over a number, to be seen.
    """

    def __init__(self, indices: ArrayLike = (), values: ArrayLike = ()) -> None:
        self._values: dict[int, float] = {}
        self.update(indices, values)

    def __len__(self) -> int:
        return len(self._values)

    def update(self, indices: ArrayLike, values: ArrayLike) -> None:
        """Add values (n,) of samples (n,), arrays or CPU tensors; raise ValueError for unequal lengths."""
        index_array, value_array = np.atleast_1d(np.asarray(indices)), np.atleast_1d(np.asarray(values, np.float64))
        if index_array.shape != value_array.shape or index_array.ndim != 1:
            raise ValueError(f"{index_array.shape} sample indices for {value_array.shape} values; expected (n,) each")
        self._add(zip(index_array.tolist(), value_array.tolist(), strict=True))

    def merge(self, other: "PerSample") -> "PerSample":
        """Return the union of both."""
        merged = PerSample()
        merged._values = dict(self._values)
        merged._add(other._values.items())
        return merged

    def mean(self) -> float:
        """Return the mean over samples, exactly rounded; NaN for an empty state or one that holds NaN."""
        values = self._values.values()
        return _exact_sum(values) / len(values) if values else math.nan

    def to_array(self) -> Array:
        """Return rows of (sample index, value) by index; exact for indices below 2^53."""
        return np.array(sorted(self._values.items()), dtype=np.float64).reshape(-1, 2)

    @classmethod
    def from_array(cls, array: Array) -> "PerSample":
        """Rebuild from rows of (sample index, value)."""
        rows = _checked_rows(array)
        return cls(rows[:, 0].astype(np.int64), rows[:, 1])

    def _add(self, pairs: Iterable[tuple[Any, float]]) -> None:
        for index, value in pairs:
            key, known = int(index), self._values.get(int(index))
            self._values[key] = value if known is None else float(np.minimum(known, value))


class Mean:
    """The mean of all values seen, each as often as it was seen.

    The sum is held exactly, as a few floats that do not overlap (Shewchuk 1997, as in math.fsum), so that merging in
    any order gives the same bits. A value that is not finite makes the mean NaN.
    """

    def __init__(self, values: ArrayLike = ()) -> None:
        self._partials: list[float] = []
        self.count = 0
        self.update(values)

    def update(self, values: ArrayLike) -> None:
        """Add values of any shape, an array or a CPU tensor."""
        flat = np.asarray(values, np.float64).ravel().tolist()
        self.count += len(flat)
        for value in flat:
            _add_exactly(self._partials, value)

    def merge(self, other: "Mean") -> "Mean":
        """Return the mean over both."""
        merged = Mean()
        merged.count = self.count + other.count
        for partial in (*self._partials, *other._partials):
            _add_exactly(merged._partials, partial)
        return merged

    def mean(self) -> float:
        """Return the exactly rounded sum over the count; NaN for an empty state."""
        return _exact_sum(self._partials) / self.count if self.count else math.nan

    def to_array(self) -> Array:
        """Return rows of (part of the sum, count), the count in the first row only."""
        parts = self._partials or ([0.0] if self.count else [])
        return np.array([(part, self.count if i == 0 else 0) for i, part in enumerate(parts)], np.float64).reshape(
            -1, 2
        )

    @classmethod
    def from_array(cls, array: Array) -> "Mean":
        """Rebuild from rows of (part of the sum, count)."""
        rows = _checked_rows(array)
        state = cls(rows[:, 0])
        state.count = int(rows[:, 1].sum())
        return state


def _add_exactly(partials: list[float], value: float) -> None:
    """Add a value to a list of floats that do not overlap, by error-free two-sums."""
    if not math.isfinite(value) or any(math.isnan(partial) for partial in partials[:1]):
        partials[:] = [math.nan]
        return
    kept = 0
    for partial in partials:
        larger, smaller = (value, partial) if abs(value) >= abs(partial) else (partial, value)
        total = larger + smaller
        lost = smaller - (total - larger)
        if lost:
            partials[kept] = lost
            kept += 1
        value = total
    partials[kept:] = [value] if value or not kept else []


def _exact_sum(values: Iterable[float]) -> float:
    """Return the exactly rounded sum, NaN where a value is not finite."""
    listed = list(values)
    return math.fsum(listed) if all(map(math.isfinite, listed)) else math.nan


def _checked_rows(array: Array) -> Array:
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"expected a metric state of shape (n, 2), got {array.shape}")
    return array
