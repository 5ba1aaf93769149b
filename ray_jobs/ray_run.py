"""What the engine needs of its surroundings, given by a Ray Train worker."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import ray.train
import ray.train.torch
import torch
import torch.distributed
from numpy.typing import NDArray
from ray.train.torch import prepare_model
from torch import nn

from eventsam.checkpoint import Storage, open_storage
from eventsam.engine import LOOK_UP_S, Wish
from eventsam.metrics_log import MetricsLog
from eventsam.tasks.task import Task
from ray_jobs.termination import TERMINATED, asked_status

WISHES: tuple[Wish, ...] = (False, "save", "replace", "interrupted", "preempted")
"""From the least to the most urgent."""
SAVE, REPLACE, INTERRUPTED, PREEMPTED = 1, 2, 3, 4


@dataclass
class RayRun:
    """A run on a Ray Train worker; its checkpoints lie in `storage`, by default in the run's own folder."""

    folder: Path
    device: torch.device = field(default_factory=ray.train.torch.get_device)
    rank: int = field(default_factory=lambda: ray.train.get_context().get_world_rank())
    world_size: int = field(default_factory=lambda: ray.train.get_context().get_world_size())
    storage: Storage | None = None
    nodes_saved_for: set[tuple[str, ...]] = field(default_factory=set)
    asked_at: float = field(default_factory=time.monotonic)

    def wrap(self, task: Task) -> nn.Module:
        """Return the task in DDP where there is more than one worker."""
        if self.world_size == 1:
            return task
        return cast(nn.Module, prepare_model(task, move_to_device=False))

    def restore(self) -> Path | None:
        """Return the newest whole checkpoint of the run, on this machine."""
        folder = self.folder / "checkpoints"
        storage = self.storage or open_storage(folder, folder)
        name = storage.newest()
        return None if name is None else storage.fetch(name)

    def report(self, record: Mapping[str, float]) -> None:
        """Append to the run's log, once for all workers; a validation also goes to Ray, where sweeps listen."""
        try:
            if self.rank == 0:
                MetricsLog(self.folder / "metrics.jsonl").append(record)
        finally:
            # Also where the disk is full: Ray waits here for all workers.
            if any(name.startswith("val/") for name in record):
                ray.train.report(dict(record))

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return every worker's rows; workers may hold different numbers of them."""
        if self.world_size == 1:
            return [values]
        table = torch.from_numpy(np.atleast_2d(values)).to(self.device)
        counts = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.world_size)]
        torch.distributed.all_gather(counts, torch.tensor([len(table)], device=self.device))
        longest = max(int(count) for count in counts)
        padded = torch.zeros(longest, table.shape[1], dtype=table.dtype, device=self.device)
        padded[: len(table)] = table
        tables = [torch.zeros_like(padded) for _ in range(self.world_size)]
        torch.distributed.all_gather(tables, padded)
        shape = values.shape[1:] if values.ndim > 1 else values.shape
        rows = [table[: int(count)].cpu().numpy() for table, count in zip(tables, counts, strict=True)]
        return [array.reshape(-1, *shape) if values.ndim > 1 else array.reshape(shape) for array in rows]

    def stopping(self) -> Wish:
        """Return the most urgent wish that any worker heard of: a stop file, SIGTERM, or a node about to be taken.

        After a worker got SIGTERM the run is saved, and goes on from there with new workers. Before a node is taken
        away it is saved too, and goes on until the node is gone.
        """
        # Ray's answer on nodes is the same for all workers, who must ask together: the first one says when.
        ask = time.monotonic() - self.asked_at >= LOOK_UP_S
        answers = self.gather(np.array([float(self._heard()), float(ask)]))
        urgency = int(max(answer[0] for answer in answers))
        if answers[0][1]:
            urgency = max(urgency, self._node_notice())
        return WISHES[urgency]

    def _heard(self) -> int:
        status = asked_status(self.folder) if self.rank == 0 else None
        if status is not None:
            return PREEMPTED if status == "preempted" else INTERRUPTED
        return REPLACE if TERMINATED.is_set() else 0

    def _node_notice(self) -> int:
        self.asked_at = time.monotonic()
        info = ray.train.get_preemption_info()
        if info is None:
            return 0
        nodes = tuple(info.preempted_node_ids)
        if nodes in self.nodes_saved_for:
            return 0
        self.nodes_saved_for.add(nodes)
        return SAVE
