"""Metric states: what one batch adds to a reported number, merged exactly over batches and workers."""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray


class MetricState(Protocol):
    """Anything that can be merged, averaged, and sent as a float64 table."""

    def merge(self, other: Self) -> Self:
        """Return the state of both; associative and commutative."""

    def mean(self) -> float:
        """Return the reported number."""

    def to_array(self) -> NDArray[np.float64]:
        """Return the state as a (rows, columns) table."""

    @classmethod
    def from_array(cls, array: NDArray[np.float64]) -> Self:
        """Rebuild the state from `to_array`'s table."""


@dataclass(frozen=True)
class PerSample:
    """One value per sample; a sample seen twice (padding of the last batch) counts once.

    `sample_index` is int64 (n,), ascending and unique; `values` float64 (n,).
    """

    sample_index: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, sample_index: NDArray[np.int64], values: NDArray[np.float64]) -> Self:
        """Return the state of a batch, in any order."""
        kept, first = np.unique(np.asarray(sample_index, np.int64), return_index=True)
        return cls(kept, np.asarray(values, np.float64)[first])

    def merge(self, other: Self) -> Self:
        """Return the samples of both."""
        indices = np.concatenate([self.sample_index, other.sample_index])
        return self.of(indices, np.concatenate([self.values, other.values]))

    def mean(self) -> float:
        """Return the mean over samples."""
        return float(self.values.mean())

    def to_array(self) -> NDArray[np.float64]:
        """Return (n, 2): sample index, value."""
        return np.stack([self.sample_index.astype(np.float64), self.values], axis=1)

    @classmethod
    def from_array(cls, array: NDArray[np.float64]) -> Self:
        """Rebuild the state from its table."""
        return cls.of(array[:, 0].astype(np.int64), array[:, 1])
