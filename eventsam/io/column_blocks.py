"""Blocks of columns that lie in a file as numbers of some dtype (HDF5, npy, mat): converted as they are read."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.io.block_recording import BlockSource, BlockTable, to_pixels, to_polarity
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.named_columns import Clock
from eventsam.io.recording import RecordingError

BLOCK_EVENTS = 1 << 17
"""Events of a block, unless the file's own chunks suggest another number."""
KEPT_EVENTS = 1 << 21
"""A recording of more events keeps its index between runs: reading all its times takes a while."""

RawColumns = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""x, y, t, p as the file stores them."""


class StoredColumns(ABC):
    """Four columns of one length in a file."""

    num_events: int
    block_events: int = BLOCK_EVENTS

    @abstractmethod
    def read(self, first: int, end: int) -> RawColumns:
        """Return events `first` up to `end` as they are stored; raise RecordingError."""

    @abstractmethod
    def read_times(self, first: int, end: int) -> NDArray[Any]:
        """Return the times alone."""


class ArrayColumns(StoredColumns):
    """Columns that are arrays: in memory, or mapped from a file."""

    def __init__(self, columns: RawColumns) -> None:
        """Keep x, y, t, p of one length."""
        self._columns = columns
        self.num_events = len(columns[2])

    def read(self, first: int, end: int) -> RawColumns:
        """Return a part, as views."""
        x, y, t, p = (column[first:end] for column in self._columns)
        return x, y, t, p

    def read_times(self, first: int, end: int) -> NDArray[Any]:
        """Return a part of the times, as a view."""
        return self._columns[2][first:end]


class ColumnSource(BlockSource):
    """Blocks of a fixed number of events; a block's times are known after all times were read once.

    That index is kept between runs for long recordings, under `reader` (the format and what else decides the blocks).
    """

    def __init__(
        self, path: Path, columns: StoredColumns, clock: Clock, reader: str, index_folder: Path | None
    ) -> None:
        """Keep what is needed to read; nothing is read yet."""
        self.path, self.columns, self.clock = path, columns, clock
        self._reader, self._index_folder = reader, index_folder

    def table(self) -> BlockTable:
        """Return the blocks; raise RecordingError for times that cannot be read."""
        if self.columns.num_events <= KEPT_EVENTS:
            return BlockTable(**self._measure())
        key = f"{self._reader}:{self.clock}:{self.columns.block_events}"
        stored = cached_index(self.path, key, self._index_folder, self._measure)
        return BlockTable(**stored)

    def times(self, first: int, end: int) -> NDArray[np.int64]:
        """Return the times of events `first` up to `end` in us; raise RecordingError."""
        try:
            return self.clock(self.columns.read_times(first, end))
        except RecordingError:
            raise
        except ValueError as error:
            raise self._fault(first, end, error) from error

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Convert the block that starts with event `place[0]`."""
        first = int(place[0])
        end = first + len(t)
        raw_x, raw_y, raw_t, raw_p = self.columns.read(first, end)
        try:
            with np.errstate(invalid="ignore"):
                x[:], y[:] = to_pixels(raw_x), to_pixels(raw_y)
                t[:], p[:] = self.clock(raw_t), to_polarity(raw_p)
        except ValueError as error:
            raise self._fault(first, end, error) from error

    def _measure(self) -> Arrays:
        num_events, step = self.columns.num_events, self.columns.block_events
        firsts = np.arange(0, num_events, step, dtype=np.int64)
        spans = np.empty((len(firsts), 2), np.int64)
        for block, first in enumerate(firsts.tolist()):
            t = self.times(first, min(first + step, num_events))
            spans[block] = t.min(), t.max()
        counts = np.minimum(step, num_events - firsts)
        return BlockTable(counts, spans[:, 0].copy(), spans[:, 1].copy(), firsts[:, None]).to_arrays()

    def _fault(self, first: int, end: int, error: ValueError) -> RecordingError:
        return RecordingError(f"{self.path}: events {first} to {end - 1}: {error}")


def check_columns(path: Path, columns: dict[str, tuple[int, np.dtype[Any]]]) -> int:
    """Return the length that all columns (name: length, dtype) share; raise RecordingError where they do not."""
    for name, (_, dtype) in columns.items():
        if dtype.kind not in "iufb" or dtype.itemsize > 8:
            raise RecordingError(f"{path}: {name} holds {dtype}, expected numbers")
    lengths = {name: length for name, (length, _) in columns.items()}
    if len(set(lengths.values())) != 1:
        raise RecordingError(f"{path}: columns of different lengths: {lengths}")
    return next(iter(lengths.values()))
