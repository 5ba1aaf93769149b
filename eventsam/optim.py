"""The optimiser and its schedule: AdamW over the trainable parameters, warm-up and cosine as a function of the step."""

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class AdamW:
    """AdamW with linear warm-up and cosine decay; the learning rate belongs to the global batch.

    `warmup_share` and the decay are shares of the run's steps; `final_share` is what is left of the learning rate at
    the end. Weight decay spares biases, norms and other parameters of fewer than two dimensions. A gradient norm above
    `explosion_ratio` times its running median (and above `clip_norm`) stops the run; 0 lets everything pass.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_share: float = 0.05
    final_share: float = 0.02
    clip_norm: float = 1.0
    explosion_ratio: float = 1000.0

    def create(self, task: nn.Module, device: torch.device) -> torch.optim.AdamW:
        """Return the optimiser over the parameters of `task` that require a gradient.

        Raises:
            ValueError: nothing is trainable.
        """
        trainable = [parameter for parameter in task.parameters() if parameter.requires_grad]
        if not trainable:
            raise ValueError(f"{type(task).__name__} has no trainable parameter")
        groups = [
            {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=self.betas, fused=device.type in ("cuda", "cpu"))

    def learning_rate_at(self, step: int, num_steps: int) -> float:
        """Return the learning rate of a step (0-based) in a run of `num_steps`."""
        warmup = max(1, round(self.warmup_share * num_steps))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        progress = (step - warmup) / max(1, num_steps - warmup)
        share = self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * share
