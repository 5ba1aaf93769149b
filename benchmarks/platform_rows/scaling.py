"""What docs/scaling.md starts from: the cost of each recipe's samples, one scheduler's blocks, an index in memory."""

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
from benchmarks.platform_rows.ray_overhead import rendered
from benchmarks.race import Row
from datasets_catalog import load_dataset
from eventsam.catalog import open_catalog
from eventsam.loading import Data, make_loader
from eventsam.recipe import load_recipe
from eventsam.spec import build, replace
from eventsam.throughput import ReaderCost, measure_reader
from ray_jobs.block_numbers import BlockNumbers
from ray_jobs.cluster import connected
from ray_jobs.pipeline import SAMPLES_PER_BLOCK, Pause
from ray_jobs.plan import reading_of

READS = {
    "reconstruct": ("rgb", "mask_blurry", "mask", "occupancy"),
    "distill": ("rgb", "event_image"),
    "fuse": ("rgb_blurry", "mask_blurry", "event_image", "rgb", "occupancy"),
}
"""What the recipes' tasks read; those of stages 1 and 2 are built from trained ones, which reading does not need."""

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
    for name, cost, stored in recipe_costs(quick):
        yield from _cost_rows(name, cost, stored)
    stored = 3 * large_samples.HEIGHT * large_samples.WIDTH + large_samples.NUM_EVENTS * large_samples.EVENT_BYTES
    yield from _cost_rows("480 x 640 to 518 x 518", large_sample_cost(128 if quick else 512), stored)
    with connected():
        rate = blocks_per_second(300 if quick else 2000)
        yield Row("blocks through one scheduler (1000 GPUs of 100 samples/s: peer)", rate / NEEDED, None, rate, NEEDED,
                  "blocks/s")  # fmt: skip
        num_blocks = 10**3 if quick else 10**4
        seconds, num_bytes = planning(num_blocks)
        yield Row(f"a plan of {num_blocks} blocks: until its first", 1.0, None, seconds, 1.0, "s")
        yield Row(f"a plan of {num_blocks} blocks: memory", 1.0, None, num_bytes, 1.0, "B/block")
        table = generated_index(10**5 if quick else 10**6)
        grown = index_memory(table) / table.num_rows
        in_memory = table.nbytes / table.num_rows
        yield Row("index in a reading process, its own (shared on the node: peer)", in_memory / max(grown, 1.0), None,
                  grown, in_memory, "B/row")  # fmt: skip


def _cost_rows(name: str, cost: ReaderCost, stored: float) -> Iterator[Row]:
    """Return a sample's time on one core, its bytes, and how its time varies from block to block of 32."""
    yield Row(f"{name}: read and represent (on CPU: peer)", cost.cpu_seconds / cost.seconds, None,
              1e3 * cost.seconds, 1e3 * cost.cpu_seconds, "ms")  # fmt: skip
    yield Row(f"{name}: in the object store (in files: peer)", stored / cost.bytes, None, cost.bytes / 1e3,
              stored / 1e3, "kB")  # fmt: skip
    yield Row(f"{name}: spread of a block's time over its mean", 1.0, None, cost.spread, 1.0, "")


def recipe_costs(quick: bool) -> Iterator[tuple[str, ReaderCost, float]]:
    """Read each recipe's samples in this process, of the catalog that the other parts train on; with bytes in files."""
    root, dataset = rendered(4 if quick else 24), load_dataset("synthetic")
    for name, reads in READS.items():
        recipe = replace(load_recipe(name), "data.root", str(root))
        data: Data = build(recipe.arguments["data"])
        loader = make_loader(dataset, open_catalog(dataset, root), data, reads, seed=0, training=True)
        yield name, measure_reader(loader, 160 if quick else 640), reading_of(loader).stored_bytes


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
    blocks = _stream(num_blocks)
    times = []
    for _ in blocks.iter_batches(batch_size=1, prefetch_batches=4):
        times.append(time.perf_counter())
    warm = num_blocks // 4
    return (num_blocks - warm - 1) / (times[-1] - times[warm])


def planning(num_blocks: int) -> tuple[float, float]:
    """Return the seconds until a stream of so many blocks hands out its first one, and the bytes per block it takes."""
    process, started = psutil.Process(), time.perf_counter()
    before = process.memory_info().rss
    blocks = _stream(num_blocks)
    next(iter(blocks.iter_batches(batch_size=1)))
    return time.perf_counter() - started, (process.memory_info().rss - before) / num_blocks


def index_memory(table: Any) -> float:
    """Return by how many bytes a process's own memory grows when it is handed an index with a task."""

    reader = Reader.remote()
    ray.get(reader.look.remote(None))
    _, before = ray.get(reader.look.remote(None))
    seen, after = ray.get(reader.look.remote(ray.put(table)))
    assert seen == table.num_rows
    return float(max(0, after - before))


def _stream(num_blocks: int) -> ray.data.Dataset:
    """Return a stream of blocks as the pipeline plans them, without work in them."""
    numbers = ray.data.read_datasource(BlockNumbers(num_blocks), override_num_blocks=num_blocks)
    return numbers.map_batches(_nothing, batch_size=None)


def _nothing(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return batch
