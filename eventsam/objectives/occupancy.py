"""Occupancy objective: class-balanced focal cross-entropy plus soft Dice."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class OccupancyLoss:
    """focal_weight * focal + dice_weight * dice for occupancy logits, each sample counting the same.

    Focal (arXiv 1708.02002): alpha_t |t - p|^gamma BCE(p, t), which for t in {0, 1} is alpha_t (1 - p_t)^gamma BCE and
    also takes soft targets. alpha_t balances the classes by each sample's own share of filled cells r, kept at or above
    `min_rate`: filled cells weigh 1 / (2 r), empty ones 1 / (2 (1 - r)), so the term is the mean of the two classes'
    means. A constant alpha would let the empty 90 % and more of a cube decide the gradient.
    Dice (arXiv 1606.04797): 1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1).

    Both are means over samples of per-sample terms, so the gradient does not depend on how a batch is split among
    workers. Raises ValueError for a gamma between 0 and 1, whose gradient is infinite at p = t.
    """

    gamma: float = 2.0
    focal_weight: float = 1.0
    dice_weight: float = 1.0
    min_rate: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse settings without a finite gradient."""
        if self.gamma < 0 or 0 < self.gamma < 1:
            raise ValueError(f"gamma must be 0 or at least 1, got {self.gamma}")
        if not 0 < self.min_rate < 0.5:
            raise ValueError(f"min_rate must be inside (0, 0.5), got {self.min_rate}")

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, R, R, R) against bool or soft targets in [0, 1] of the same shape."""
        return self.with_parts(logits, target)["loss"]

    def with_parts(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return "loss" and the two terms that it weighs; arguments as for a call."""
        parts = self.parts(logits, target)
        return {"loss": self.focal_weight * parts["focal"] + self.dice_weight * parts["dice"], **parts}

    def parts(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the two terms, "focal" and "dice", before their weights; raise ValueError for unequal shapes."""
        if logits.shape != target.shape:
            raise ValueError(f"logits have shape {tuple(logits.shape)}, the target {tuple(target.shape)}")
        # Sums over 64^3 cells overflow float16 and round coarsely in bfloat16.
        logits, target = logits.float().flatten(1), target.to(torch.float32).flatten(1)
        return {"focal": self._focal(logits, target).mean(), "dice": _dice(logits, target).mean()}

    def _focal(self, logits: Tensor, target: Tensor) -> Tensor:
        rate = target.mean(dim=1, keepdim=True).clamp(self.min_rate, 1 - self.min_rate)
        balance = target / (2 * rate) + (1 - target) / (2 * (1 - rate))
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.gamma:
            entropy = (target - logits.sigmoid()).abs().pow(self.gamma) * entropy
        return (balance * entropy).mean(dim=1)


def _dice(logits: Tensor, target: Tensor) -> Tensor:
    filled = logits.sigmoid()
    # The 1 makes two empty grids a loss of 0 and keeps the gradient finite there.
    return 1 - (2 * (filled * target).sum(dim=1) + 1) / (filled.sum(dim=1) + target.sum(dim=1) + 1)
