"""The one Ray Data builder: blocks of positions, read, augmented and represented in one stage, in an exact order.

Reader processes import this module; torch stays out of it to keep them small and quick to start.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray.data
from ray.data import DataContext, DataIterator
from ray.data._internal.execution import streaming_executor_state
from ray.data._internal.execution.execution_callback import ExecutionCallback

from eventsam.loading import Loader
from eventsam.order import Layout
from ray_jobs.block_numbers import BlockNumbers

SAMPLES_PER_BLOCK = 128
"""Tasks of 100 to 250 samples hide Ray's cost per task."""
BYTES_PER_BLOCK = 64 * 2**20


SCHEDULER_PAUSE_S = 0.1
SCHEDULER_WAIT_S = 0.05
"""How long the scheduler waits for all running blocks before it looks which are done; Ray's 0.1 s leave a reader
without work for 0.13 s a block, half of that 0.05 s, for 3 % more of one core."""
QUICK_STEP_S = 0.02
"""A step of the scheduler that waited for nothing; a block's end and its successor's start are two or three of them."""
QUICK_STEPS = 3


class Pause(ExecutionCallback):
    """Looks often while blocks are being read, and rests between the scheduler's steps while it turns on the spot.

    While finished blocks wait for the trainer, the scheduler finds them ready again and again without a pause and
    takes half a core: on two cores the trainer then runs at a quarter of its speed. While it waits for readers it is
    left alone: a reader that is done should not have to wait for its next block.
    """

    def __init__(self) -> None:
        self.left, self.num_quick = 0.0, 0

    def before_execution_starts(self, executor: Any) -> None:
        """Let the scheduler of this process look more often."""
        streaming_executor_state.WAIT_FOR_TASK_COMPLETION_TIMEOUT_S = SCHEDULER_WAIT_S

    def on_execution_step(self, executor: Any) -> None:
        """Sleep after several quick steps in a row; a block lasts the trainer much longer than this."""
        self._ask_for_limits(executor)
        quick = time.monotonic() - self.left < QUICK_STEP_S
        self.num_quick = self.num_quick + 1 if quick else 0
        if self.num_quick > QUICK_STEPS:
            time.sleep(SCHEDULER_PAUSE_S)
        self.left = time.monotonic()

    def _ask_for_limits(self, executor: Any) -> None:
        """Have a new execution ask at every step what it may use, until it is told.

        It would ask once a second and read one block at a time meanwhile: most of a short validation's time.
        """
        manager = executor._resource_manager
        if not manager.get_global_limits().cpu:
            manager._global_limits_last_update_time = 0.0


@dataclass(frozen=True)
class ReadBlocks:
    """Turns block numbers into the blocks' samples."""

    loader: Loader
    layout: Layout

    def __call__(self, blocks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the samples of the one block in `blocks["id"]`, in the order in which its worker takes them."""
        (block,) = blocks["id"].tolist()
        return self.loader.batch(self.layout.positions(block))


def stream(loader: Loader, layout: Layout) -> ray.data.Dataset:
    """Return the samples of `layout` as a lazy dataset: block b of it holds `layout.positions(b)`."""
    context = DataContext.get_current()
    # A block that Ray cut in two would break the round robin by which workers get their shares.
    context.target_max_block_size = None
    context.execution_options.preserve_order = True
    context.print_on_execution_start = False
    if Pause not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(Pause)
    blocks = ray.data.read_datasource(BlockNumbers(layout.num_blocks), override_num_blocks=layout.num_blocks)
    return blocks.map_batches(ReadBlocks(loader, layout), batch_size=None)


def layout_of(loader: Loader, start: int, stop: int, global_batch_size: int, num_workers: int) -> Layout:
    """Return the layout of positions [start, stop) with blocks sized by samples and by bytes."""
    sample_bytes = sum(array.nbytes for array in loader.batch(np.zeros(1, np.int64)).values())
    samples = max(1, min(SAMPLES_PER_BLOCK, BYTES_PER_BLOCK // sample_bytes))
    batches = max(1, samples // max(1, global_batch_size // num_workers))
    return Layout(start, stop, global_batch_size, num_workers, batches)


def batches(shard: DataIterator | ray.data.Dataset, layout: Layout, rank: int) -> Iterator[dict[str, Any]]:
    """Yield this worker's batches as tensors, checking that each holds the positions it must.

    Raises:
        RuntimeError: a batch is not the one whose turn it is.
    """
    expected = layout.start + rank * layout.batch_size
    for batch in shard.iter_torch_batches(batch_size=layout.batch_size, prefetch_batches=4, drop_last=False):
        first = int(batch["position"][0])
        if first != expected or len(batch["position"]) != layout.batch_size:
            raise RuntimeError(
                f"worker {rank} got {len(batch['position'])} samples from position {first}, expected "
                f"{layout.batch_size} from {expected}: the stream is out of order"
            )
        expected += layout.global_batch_size
        yield batch
