"""How long a run is, how often it looks up, and what decides which checkpoint is best."""

import math
from dataclasses import dataclass
from typing import Literal

LEAST = {
    "num_samples": 1, "global_batch_size": 1, "micro_batches": 1, "log_every": 1, "keep_last": 1,
    "validate_every": 0, "checkpoint_every": 0, "checkpoint_minutes": 0, "patience": 0,
}  # fmt: skip
"""The least that each number of a budget may be."""


@dataclass(frozen=True)
class Budget:
    """How long a run is and how often it looks up, in optimiser steps unless said otherwise.

    `num_samples` counts samples over all workers; `micro_batches` splits a worker's batch for gradient accumulation;
    `validate_every` 0 validates at the end alone. A checkpoint is due every `checkpoint_every` steps and whenever
    `checkpoint_minutes` have passed since the last one; 0 switches either off. `patience` ends the run after that many
    validations in a row without a new best; 0 never does.
    """

    num_samples: int
    global_batch_size: int = 32
    micro_batches: int = 1
    log_every: int = 10
    validate_every: int = 0
    checkpoint_every: int = 200
    checkpoint_minutes: float = 0.0
    keep_last: int = 2
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    patience: int = 0

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"budget.{name} is {getattr(self, name)}, allowed: {least} or more")
        if self.patience and not self.validate_every:
            raise ValueError(
                f"patience {self.patience} counts validations, but validate_every is {self.validate_every}"
            )

    @property
    def num_steps(self) -> int:
        """Optimiser steps: the samples in whole global batches."""
        return -(-self.num_samples // self.global_batch_size)


@dataclass(frozen=True)
class Monitor:
    """The validation metric that decides which checkpoint is best."""

    metric: str
    mode: Literal["max", "min"] = "max"

    def better(self, value: float, best: float | None) -> bool:
        """Say whether a value beats the best one so far; one that is not finite beats none."""
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        return value > best if self.mode == "max" else value < best
