"""Random 50 ms slices of stored recordings, and whole ones: our Parquet and chunk rows against what others write.

Files lie in the system's cache and are open. `pandas default` is what `DataFrame.to_parquet` writes, read as people do,
by filters; `in our row groups` is the same with row groups of ours, pruned by their statistics as we prune ours, so
that only the layout differs. The HDF5 file is the DSEC tree, gzip 4 with shuffle, its index by milliseconds in memory;
its chunks are not cached, since a random window of a long recording would not find them there.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.race import Row, race, speed_row
from benchmarks.texture_stream import texture_stream
from eventsam.events import COLUMNS, Events
from eventsam.io.chunk_rows import open_chunk_rows, write_chunk_rows
from eventsam.io.parquet import open_parquet, write_parquet
from eventsam.io.recording import OpenOptions

WINDOW_US = 50_000
NUM_WINDOWS = 12
HDF5_CHUNK = 1 << 16

Slice = Callable[[int, int], object]


def rows(quick: bool) -> Iterator[Row]:
    """Race over 1e7 events at 346x260 and 1280x720 (1e6 and 3e6 if quick)."""
    sizes = ((260, 346, 1_000_000), (720, 1280, 3_000_000)) if quick else ((260, 346, 10**7), (720, 1280, 10**7))
    for height, width, num_events in sizes:
        stream = texture_stream(num_events, height, width)
        with tempfile.TemporaryDirectory() as folder:
            yield from _rows(Path(folder), stream, 5 if quick else 9, f"{width}x{height}")


def _rows(folder: Path, stream: Events, rounds: int, size: str) -> Iterator[Row]:
    ours, chunks = _ours(folder, stream), _chunk_rows(folder, stream)
    pandas, pandas_groups = _pandas(folder, stream), _pandas_in_groups(folder, stream)
    hdf5 = _hdf5(folder, stream)
    starts = np.random.default_rng(0).integers(stream.t[0], stream.t[-1] - WINDOW_US, NUM_WINDOWS)
    windows = [(int(start), int(start) + WINDOW_US) for start in starts]
    mean = sum(len(stream.between(*window)) for window in windows) // NUM_WINDOWS

    def sliced(cut: Slice) -> Callable[[], object]:
        return lambda: [cut(*window) for window in windows]

    peers = {"pandas default": pandas, "pandas in our row groups": pandas_groups, "gzip HDF5": hdf5}
    readers = {"ours": ours, "chunk rows": chunks} | peers
    seconds = race({name: sliced(cut) for name, cut in readers.items()}, rounds)
    goals = {"pandas default": 3.0, "gzip HDF5": 2.0}
    for name in [*peers, "chunk rows"]:
        title = f"50 ms slice {size} ({mean} events): {name}"
        yield speed_row(title, seconds["ours"], seconds[name], goals.get(name), NUM_WINDOWS, "slices/s")
    whole = int(stream.t[0]), int(stream.t[-1]) + 1
    seconds = race({name: lambda cut=cut: cut(*whole) for name, cut in readers.items()}, max(3, rounds // 2))
    for name in [*peers, "chunk rows"]:
        yield speed_row(f"read whole {size}: {name}", seconds["ours"], seconds[name], None, len(stream))


def _ours(folder: Path, stream: Events) -> Slice:
    write_parquet(folder / "ours.parquet", [stream], stream.height, stream.width)
    return open_parquet(folder / "ours.parquet", OpenOptions()).events


def _chunk_rows(folder: Path, stream: Events) -> Slice:
    write_chunk_rows(folder / "ours.chunks", [stream], stream.height, stream.width)
    return open_chunk_rows(folder / "ours.chunks", OpenOptions()).events


def _frame(stream: Events) -> pd.DataFrame:
    return pd.DataFrame({"x": stream.x, "y": stream.y, "t": stream.t, "p": stream.p.astype(bool)})


def _pandas(folder: Path, stream: Events) -> Slice:
    path = folder / "pandas.parquet"
    _frame(stream).to_parquet(path)

    def cut(t0: int, t1: int) -> object:
        return pd.read_parquet(path, filters=[("t", ">=", t0), ("t", "<", t1)])

    return cut


def _pandas_in_groups(folder: Path, stream: Events) -> Slice:
    path = folder / "groups.parquet"
    _frame(stream).to_parquet(path, row_group_size=131072)
    file = pq.ParquetFile(path, memory_map=True)
    groups = range(file.num_row_groups)
    stated = [file.metadata.row_group(group).column(2).statistics for group in groups]
    lows, highs = np.array([found.min for found in stated]), np.array([found.max for found in stated])

    def cut(t0: int, t1: int) -> object:
        chosen = np.flatnonzero((highs >= t0) & (lows < t1)).tolist()
        table = file.read_row_groups(chosen, columns=list(COLUMNS), use_threads=False)
        columns = [table[name].to_numpy() for name in COLUMNS]
        first, end = np.searchsorted(columns[2], [t0, t1])
        return [column[first:end] for column in columns]

    return cut


def _hdf5(folder: Path, stream: Events) -> Slice:
    options = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "chunks": (min(HDF5_CHUNK, len(stream)),)}
    columns = {"x": stream.x, "y": stream.y, "t": stream.t.astype(np.uint32), "p": stream.p}
    with h5py.File(folder / "events.h5", "w") as file:
        for name, column in columns.items():
            file.create_dataset(name, data=column, **options)
    opened = h5py.File(folder / "events.h5", rdcc_nbytes=0)
    sets = {name: opened[name] for name in columns}
    by_ms = np.searchsorted(stream.t, np.arange(0, int(stream.t[-1]) + 2000, 1000))

    def cut(t0: int, t1: int) -> object:
        first, end = by_ms[t0 // 1000], by_ms[min(-(-t1 // 1000), len(by_ms) - 1)]
        t = sets["t"][first:end]
        a, b = np.searchsorted(t, [t0, t1])
        return [t[a:b], *(sets[name][first + a : first + b] for name in ("x", "y", "p"))]

    return cut
