"""The numbers of a stream's blocks as a source for Ray Data, one read task each, small enough for streams of millions.

Ray Data's own range pickles its code with every task: at a million samples that takes longer than starting Ray.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.context import DataContext
from ray.data.datasource import ReadTask

BYTES = 8


@dataclass(frozen=True)
class BlockNumber:
    """Reads one number; its class is known wherever this project is, so that only the number travels."""

    number: int

    def __call__(self) -> Iterable[pa.Table]:
        """Yield the number as a table of one row."""
        yield pa.table({"id": pa.array([self.number], pa.int64())})


class BlockNumbers(Datasource):
    """The numbers from 0 to `num_blocks`, in order, each a block of its own."""

    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.num_blocks = num_blocks

    def estimate_inmemory_data_size(self) -> int:
        """Return the bytes of all numbers."""
        return BYTES * self.num_blocks

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """Return a task per number, whatever parallelism is asked for: the order of blocks rests on it."""
        size = BlockMetadata(num_rows=1, size_bytes=BYTES, input_files=None, exec_stats=None)
        return [ReadTask(BlockNumber(number), size) for number in range(self.num_blocks)]
