"""What docs/scaling.md starts from: the cost of a large sample, the blocks of one scheduler, an index in memory."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
import ray.data

from benchmarks import large_samples
from benchmarks.platform_rows.index import generated_index
from benchmarks.race import Row
from eventsam.throughput import ReaderCost, measure_reader
from ray_jobs.cluster import connected
from ray_jobs.pipeline import SAMPLES_PER_BLOCK, Pause

NEEDED = 1000 * 100 / SAMPLES_PER_BLOCK


@ray.remote
class Reader:
    """A process that is handed an index."""

    def look(self, index: Any) -> tuple[int, int]:
        """Return the rows seen and the bytes that are this process's own."""
        self.index = index
        return (0 if index is None else index.num_rows), psutil.Process().memory_full_info().uss


def rows(quick: bool) -> Iterator[Row]:
    """Measure."""
    cost = large_sample_cost(128 if quick else 512)
    yield Row("480 x 640 to 518 x 518, read and represent (on CPU: peer)", cost.cpu_seconds / cost.seconds, None,
              1e3 * cost.seconds, 1e3 * cost.cpu_seconds, "ms")  # fmt: skip
    stored = (
        3 * large_samples.HEIGHT * large_samples.WIDTH + large_samples.NUM_EVENTS * large_samples.EVENT_BYTES
    ) / 1e6
    yield Row("480 x 640 to 518 x 518: in the store (raw on disk: peer)", stored / (cost.bytes / 1e6), None,
              cost.bytes / 1e6, stored, "MB")  # fmt: skip
    with connected():
        rate = blocks_per_second(300 if quick else 2000)
        yield Row("blocks through one scheduler (1000 GPUs of 100 samples/s: peer)", rate / NEEDED, None, rate, NEEDED,
                  "blocks/s")  # fmt: skip
        table = generated_index(10**5 if quick else 10**6)
        grown = index_memory(table) / table.num_rows
        in_memory = table.nbytes / table.num_rows
        yield Row("index in a reading process, its own (shared on the node: peer)", in_memory / max(grown, 1.0), None,
                  grown, in_memory, "B/row")  # fmt: skip


def large_sample_cost(num_samples: int) -> ReaderCost:
    """Read generated samples of full size in this process."""
    with tempfile.TemporaryDirectory() as folder:
        large_samples.write(Path(folder))
        return measure_reader(large_samples.loader(Path(folder)), num_samples)


def blocks_per_second(num_blocks: int) -> float:
    """Let blocks without work flow and return their rate, from the first quarter on."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.print_on_execution_start = False
    context.custom_execution_callback_classes = [Pause]
    blocks = ray.data.range(num_blocks, override_num_blocks=num_blocks).map_batches(_nothing, batch_size=None)
    times = []
    for _ in blocks.iter_batches(batch_size=1, prefetch_batches=4):
        times.append(time.perf_counter())
    warm = num_blocks // 4
    return (num_blocks - warm - 1) / (times[-1] - times[warm])


def index_memory(table: Any) -> float:
    """Return by how many bytes a process's own memory grows when it is handed an index with a task."""

    reader = Reader.remote()
    ray.get(reader.look.remote(None))
    _, before = ray.get(reader.look.remote(None))
    seen, after = ray.get(reader.look.remote(ray.put(table)))
    assert seen == table.num_rows
    return float(max(0, after - before))


def _nothing(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return batch
