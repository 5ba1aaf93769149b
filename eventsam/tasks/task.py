"""What a task is: a model with its objective and its metrics, in five members."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from eventsam.metrics.state import MetricState

Batch = Mapping[str, Tensor]


class Task(nn.Module):
    """What the engine trains.

    Subclasses set `reads` (sample keys; the pipeline ships nothing else) and `frozen` (submodules that stay in eval
    mode and outside optimiser and checkpoint) and implement `forward` and `evaluate`.
    """

    reads: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `{"loss": scalar}` and its named parts."""
        raise TypeError(f"{type(self).__name__} cannot be trained: it has no loss")

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return the metric states of one batch, by name."""
        raise TypeError(f"{type(self).__name__} cannot be evaluated: it has no metrics")

    def after_step(self, progress: float) -> None:
        """Act after an optimiser step; `progress` runs from 0 to 1 (EMA teachers, curricula)."""

    def freeze(self) -> None:
        """Take the frozen submodules out of training; call it at the end of `__init__`."""
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Task":
        """Set the mode of the trained parts; frozen ones stay in eval mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def trained_state(self) -> dict[str, Tensor]:
        """Return the state of everything but the frozen submodules."""
        prefixes = tuple(f"{name}." for name in self.frozen)
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(prefixes)}

    @torch.no_grad()
    def gauges(self) -> dict[str, float]:
        """Return numbers of the model itself worth a curve, such as the fusion's gates."""
        return {}
