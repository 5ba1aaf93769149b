"""What an index of samples weighs: bytes per row on disk and in memory, seconds to open, from a million rows."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.race import Row
from eventsam.catalog import table_hash

ROWS_PER_TRAJECTORY = 40
TRAJECTORIES_PER_SHARD = 25


def rows(quick: bool) -> Iterator[Row]:
    """Generate, write, read and look up."""
    table = generated_index(10**5 if quick else 10**6)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.parquet"
        pq.write_table(table, path)
        on_disk = path.stat().st_size / table.num_rows
        pq.write_table(table, path, compression="zstd")
        zstd = path.stat().st_size / table.num_rows
        started = time.perf_counter()
        read = pq.read_table(path)
        opened = time.perf_counter() - started
    yield Row(f"index of {table.num_rows} rows: Parquet (zstd: peer)", zstd / on_disk, None, on_disk, zstd, "B/row")
    in_memory = table.nbytes / table.num_rows
    yield Row("index: in memory (Parquet: peer)", on_disk / in_memory, None, in_memory, on_disk, "B/row")
    started = time.perf_counter()
    table_hash(read.slice(0, table.num_rows // 10))
    sealed = 10 * (time.perf_counter() - started)
    name = "index: seconds per million rows to seal (to read: peer)"
    scale = 1e6 / table.num_rows
    yield Row(name, opened / sealed, None, sealed * scale, opened * scale, "s")


def generated_index(num_rows: int) -> pa.Table:
    """Return an index like that of rendered or packed recordings: 40 samples a trajectory, 25 trajectories a shard."""
    number = np.arange(num_rows, dtype=np.int64)
    trajectory, frame = np.divmod(number, ROWS_PER_TRAJECTORY)
    shard = trajectory // TRAJECTORIES_PER_SHARD
    generator = np.random.Generator(np.random.PCG64(0))
    t_us = frame * 33_333 + generator.integers(0, 1000, num_rows)
    object_id = pc.binary_join_element_wise("object", pa.array(shard).cast(pa.string()), "-")
    sample_id = pc.binary_join_element_wise(
        object_id, pa.array(trajectory).cast(pa.string()), pa.array(frame).cast(pa.string()), "/"
    )
    return pa.table(
        {
            "sample_id": sample_id,
            "object_id": object_id,
            "shard": pc.binary_join_element_wise("shards", pc.binary_join_element_wise(object_id, "h5", "."), "/"),
            "t_us": t_us,
            "exposure_start_us": t_us - 16_000,
            "exposure_end_us": t_us + 16_000,
            "num_events": generator.integers(2_000, 40_000, num_rows),
            "split": pa.array(np.where(shard % 10, "train", "val")),
        }
    )
