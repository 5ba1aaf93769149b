"""Volume IoU of occupancy grids."""

import torch
from torch import Tensor


def volume_iou(prediction: Tensor, target: Tensor) -> Tensor:
    """Return intersection over union (B,) float64 of bool grids (B, R, R, R).

    Two empty grids agree: 1 (the ratio is undefined there); one empty grid gives 0.
    Raises ValueError for unequal shapes and grids that are not bool (threshold logits at 0 first).
    """
    if prediction.shape != target.shape or prediction.ndim != 4:
        raise ValueError(
            f"expected equal shapes (B, R, R, R): prediction {tuple(prediction.shape)}, target {tuple(target.shape)}"
        )
    if prediction.dtype != torch.bool or target.dtype != torch.bool:
        raise ValueError(f"expected bool grids, got prediction {prediction.dtype} and target {target.dtype}")
    intersection = (prediction & target).flatten(1).sum(dim=1).double()
    union = (prediction | target).flatten(1).sum(dim=1).double()
    return torch.where(union > 0, intersection / union.clamp_min(1), torch.ones_like(union))
