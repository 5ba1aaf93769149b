"""What the engine needs of its surroundings, and a run in this very process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eventsam import checkpoint
from eventsam.tasks.task import Task

Status = Literal["finished", "interrupted", "preempted"]
"""How a fit ends: at the end of its budget, by a person's wish, or because its machine is about to be taken away."""

Wish = bool | Literal["save", "replace", "interrupted", "preempted"]
"""What is asked of a run: nothing (False), a checkpoint at once, that and other workers, or the status to end with
(True: "interrupted")."""

LOOK_UP_S = 1.0
"""How often a run looks up from its steps, to hear wishes and failed writes; all workers agree on the steps."""


class Run(Protocol):
    """What the engine needs of its surroundings."""

    device: torch.device
    rank: int
    world_size: int

    def wrap(self, task: Task) -> nn.Module:
        """Return the task ready for training on all workers (DDP), or the task itself."""

    def restore(self) -> Path | None:
        """Return the checkpoint to go on from."""

    def report(self, record: Mapping[str, float]) -> None:
        """Take a record of numbers, already reduced over workers; called on every worker."""

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return every worker's array (any number of rows), in rank order; called on every worker."""

    def stopping(self) -> Wish:
        """Say whether somebody asked the run to stop, or to save at once; every worker gives the same answer."""


@dataclass
class LocalRun:
    """A run in this very process, for tests, notebooks and benchmarks."""

    folder: Path | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world_size: int = 1
    records: list[dict[str, float]] = field(default_factory=list)

    def wrap(self, task: Task) -> nn.Module:
        """Return the task itself."""
        return task

    def restore(self) -> Path | None:
        """Return the newest checkpoint in the run's folder."""
        return checkpoint.latest(self.folder) if self.folder else None

    def report(self, record: Mapping[str, float]) -> None:
        """Keep the record in memory."""
        self.records.append(dict(record))

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return the one worker's array."""
        return [values]

    def stopping(self) -> Wish:
        """Nobody asks."""
        return False
