"""DSEC's `events.h5` (Gehrig et al., RA-L 2021): events/{x,y,t,p}, t from t_offset on, an index of milliseconds.

`t` is uint32 us after `t_offset` (int64 us); `ms_to_idx[ms]` is the first event with t >= 1000 ms. The layout has no
sensor size, as DSEC's cameras all have 480 rows and 640 columns: that is the size unless the options, a sidecar, or the
attributes `height` and `width` (which our writer adds) say another. An event outside it is a fault as everywhere.
"""

import importlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.block_recording import BlockRecording
from eventsam.io.format import Format
from eventsam.io.hdf5_columns import DatasetColumns, MillisecondSource
from eventsam.io.hdf5_file import Hdf5File, dataset_shapes, is_hdf5
from eventsam.io.hdf5_generic import column_groups, ms_index, stated_size
from eventsam.io.hdf5_write import ColumnFile, EventColumn, extend
from eventsam.io.named_columns import Clock
from eventsam.io.recording import OpenOptions, RecordingError
from eventsam.io.sidecar import sidecar_size

HEIGHT, WIDTH = 480, 640
SPAN_US = 1 << 32
"""What DSEC's uint32 times can tell apart."""


def open_dsec(path: Path, options: OpenOptions) -> BlockRecording:
    """Open a DSEC events file; raise RecordingError for a faulty one."""
    file = Hdf5File(path)
    names = column_groups(path).get("events")
    offset = file.number("t_offset")
    if names is None or offset is None:
        raise RecordingError(f"{path}: expected DSEC's events/x, events/y, events/t, events/p and t_offset")
    columns = DatasetColumns(file, names)
    stated = stated_size(file, "events") or sidecar_size(path.parent)
    size = options.size(path, stated) if stated or options.height else (HEIGHT, WIDTH)
    clock = Clock.of(columns.time_dtype, names.unit, offset)
    source = MillisecondSource(path, columns, clock, "dsec", options, ms_index(file, "events"))
    return BlockRecording("dsec", path, size, source, options)


def _matches(path: Path, start: bytes) -> bool:
    return is_hdf5(start) and "t_offset" in dataset_shapes(path) and "events" in column_groups(path)


def write_dsec(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    """Write DSEC's layout with Blosc-Zstandard, the sensor size as attributes; `t_offset` is the first event's time.

    A recording that spans more than uint32 us (71 minutes) is outside DSEC: then `t` becomes int64, and `ms_to_idx`,
    which would have an entry for every millisecond of a gap, is left out. Our reader takes both.
    """
    # Registers its filters when it is imported; only this format needs them for writing.
    blosc = importlib.import_module("hdf5plugin").Blosc
    settings = dict(blosc(cname="zstd", clevel=1, shuffle=blosc.SHUFFLE))
    columns = [
        EventColumn("events/x", "x", np.uint16),
        EventColumn("events/y", "y", np.uint16),
        EventColumn("events/t", "t", np.uint32),
        EventColumn("events/p", "p", np.uint8),
    ]
    offset: int | None = None
    with ColumnFile(path, columns, settings) as file:
        file.state_size(height, width)
        index = _MillisecondIndex(file)
        for chunk in chunks:
            if not len(chunk):
                continue
            offset = int(chunk.t[0]) if offset is None else offset
            t = chunk.t - np.int64(offset)
            if t[-1] >= SPAN_US and index.narrow:
                index.drop()
            index.append(t)
            file.append(chunk, t)
        file.handle["t_offset"] = np.int64(offset or 0)


class _MillisecondIndex:
    """`ms_to_idx`, grown as the events come."""

    def __init__(self, file: ColumnFile) -> None:
        self._file, self.narrow = file, True
        self._num_events = self._next_ms = 0
        self._dataset = file.create("ms_to_idx", np.uint64)

    def append(self, t: NDArray[np.int64]) -> None:
        """Add the milliseconds up to the last event's."""
        if not self.narrow:
            return
        until = int(t[-1]) // 1000 + 1
        for first in range(self._next_ms, until, 1 << 20):
            ms = np.arange(first, min(first + (1 << 20), until), dtype=np.int64)
            extend(self._dataset, self._num_events + np.searchsorted(t, ms * 1000, side="left"))
        self._next_ms, self._num_events = until, self._num_events + len(t)

    def drop(self) -> None:
        """Leave the index out and widen the times already written."""
        self.narrow = False
        handle = self._file.handle
        wide = self._file.create("events/t_wide", np.int64)
        for first in range(0, len(handle["events/t"]), 1 << 20):
            extend(wide, handle["events/t"][first : first + (1 << 20)])
        del handle["ms_to_idx"], handle["events/t"]
        handle.move("events/t_wide", "events/t")


FORMATS = (Format("dsec", "DSEC events.h5", (), _matches, open_dsec, write_dsec),)
