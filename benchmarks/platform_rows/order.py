"""The order of an epoch of 10^9 samples: any position within a second and 100 MB, and only forwards in no time."""

import resource
import sys
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np

from benchmarks.race import Row, bound_row
from eventsam.order import Layout, Order

NUM_SAMPLES = 10**9
GLOBAL_BATCH_SIZE = 8192


def rows(quick: bool) -> Iterator[Row]:
    """Seek to positions all over two epochs; compute a whole block of rows at each."""
    generator = np.random.Generator(np.random.PCG64(0))
    starts = generator.integers(0, 2 * NUM_SAMPLES // GLOBAL_BATCH_SIZE, 5 if quick else 50) * GLOBAL_BATCH_SIZE
    before = _resident_peak()
    seconds = [_seek(int(start)) for start in starts]
    grown = _resident_peak() - before
    tracemalloc.start()
    _seek(int(starts[0]))
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    yield bound_row("10^9 samples: seek to a position, first batch of 8192, slowest", max(seconds), 1.0, "s")
    yield bound_row("10^9 samples: memory of a seek (allocations, resident)", max(allocated, grown) / 1e6, 100.0, "MB")
    order = Order(NUM_SAMPLES, seed=1, catalog_hash="a")
    positions = np.arange(10**5 if quick else 10**6, dtype=np.int64)
    started = time.perf_counter()
    order.rows(positions)
    rate = len(positions) / (time.perf_counter() - started)
    # A thousand GPUs at a thousand samples/s each.
    yield Row("10^9 samples: rows of consecutive positions", rate / 1e6, None, rate / 1e6, 1.0, "M rows/s")


def _seek(start: int) -> float:
    """Seconds from nothing to the rows of one worker's share of a block at a position."""
    started = time.perf_counter()
    order = Order(NUM_SAMPLES, seed=start % 7, catalog_hash=str(start))
    layout = Layout(start, 2 * NUM_SAMPLES, GLOBAL_BATCH_SIZE, num_workers=1, batches_per_block=1)
    order.rows(layout.positions(0))
    return time.perf_counter() - started


def _resident_peak() -> float:
    """Bytes of this process's largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
