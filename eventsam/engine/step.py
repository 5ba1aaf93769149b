"""One optimiser step: forward and backward in micro-batches, clipping, and a halt where a number is not finite."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventsam.engine.budget import Budget
from eventsam.faults.guard import GradientGuard
from eventsam.optim import AdamW
from eventsam.tasks.task import Batch


class NonFiniteLossError(ValueError):
    """The loss or its gradient became NaN or infinite; the message names the step and the samples."""

    kind = "nonfinite"

    def __init__(self, message: str, numbers: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.numbers = dict(numbers or {})


class ExplodingGradientError(NonFiniteLossError):
    """The gradient's norm leapt far above its running median; nothing was stepped with it."""

    kind = "explosion"


@dataclass
class Stepper:
    """Takes the steps of one worker; `where` names a batch's step, rank and samples for an error's message."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    settings: AdamW
    budget: Budget
    device: torch.device
    where: Callable[[Batch], str]

    def __post_init__(self) -> None:
        self.guard = GradientGuard(self.settings.explosion_ratio, self.settings.clip_norm)

    def __call__(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Take the step of that number, from 0, and return its losses and the norm of its gradient before clipping.

        Raises:
            NonFiniteLossError: a number is not finite, or the gradient exploded; the weights are as they were.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate_at(step, self.budget.num_steps)
        losses = self._backward(batch)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        self._check_finite(losses["loss"], norm, batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {**losses, "gradient_norm": norm}

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        parts = _split(batch, self.budget.micro_batches)
        total: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            with self._no_sync() if not last else nullcontext(), self._autocast():
                losses = self.model(part)
            with self._no_sync() if not last else nullcontext():
                (losses["loss"] / len(parts)).backward()
            for name, value in losses.items():
                total[name] = total.get(name, torch.zeros((), device=self.device)) + value.detach() / len(parts)
        return total

    def _no_sync(self) -> AbstractContextManager[None]:
        no_sync = getattr(self.model, "no_sync", None)
        return no_sync() if no_sync is not None else nullcontext()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.budget.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _check_finite(self, loss: Tensor, norm: Tensor, batch: Batch) -> None:
        # The norm is taken after the gradients were averaged over workers, so all of them stop at the same step.
        finite = bool(torch.isfinite(norm) & torch.isfinite(loss))
        explosion = self.guard.judge(float(norm)) if finite else None
        if finite and explosion is None:
            return
        raise (ExplodingGradientError if finite else NonFiniteLossError)(
            f"{explosion + ', ' if explosion else ''}loss {float(loss)} with gradient norm {float(norm)} "
            f"{self.where(batch)}",
            {"loss": float(loss), "gradient_norm": float(norm)},
        )


@dataclass
class Meter:
    """Sums of what the steps since the last record reported."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    num_steps: int = 0
    data_wait_s: float = 0.0
    step_s: float = 0.0

    def add(self, values: Mapping[str, Tensor], data_wait_s: float, step_s: float) -> None:
        """Take a step's losses and seconds."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        self.num_steps += 1
        self.data_wait_s += data_wait_s
        self.step_s += step_s

    def drain(self) -> tuple[list[str], NDArray[np.float64]]:
        """Return names and means over the steps, and begin anew."""
        means = {name: float(value) / self.num_steps for name, value in self.sums.items()}
        means |= {"data_wait_s": self.data_wait_s / self.num_steps, "step_s": self.step_s / self.num_steps}
        self.sums, self.num_steps, self.data_wait_s, self.step_s = {}, 0, 0.0, 0.0
        return list(means), np.array(list(means.values()), dtype=np.float64)


def _split(batch: Batch, num_parts: int) -> list[Batch]:
    if num_parts == 1:
        return [batch]
    size = len(next(iter(batch.values())))
    if size % num_parts:
        raise ValueError(f"a worker's batch of {size} cannot be cut into {num_parts} micro-batches")
    step = size // num_parts
    return [{name: value[i * step : (i + 1) * step] for name, value in batch.items()} for i in range(num_parts)]
