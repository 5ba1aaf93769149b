"""How close a student's tokens are to its teacher's, per sample."""

import torch
import torch.nn.functional as F
from torch import Tensor

from eventsam.metrics.state import MetricState, PerSample
from eventsam.models.embedder import Embedded


@torch.no_grad()
def feature_metrics(
    learned: Embedded, taught: Embedded, sample_index: Tensor, place: str = ""
) -> dict[str, MetricState]:
    """Return per-sample states: "l1", "cosine" of the projected tokens, "l1/block_<i>", "cosine/block_<i>" of blocks.

    `sample_index` (B,) int64; `place` follows the kind, as in "cosine/full/block_2" for "/full". Raises ValueError
    where token shapes differ, KeyError for a block the teacher lacks.
    """
    pairs = {place: (learned.projected, taught.projected)}
    pairs |= {f"{place}/block_{i}": (tokens, taught.taps[i]) for i, tokens in learned.taps.items()}
    indices = sample_index.cpu().numpy()
    states: dict[str, MetricState] = {}
    for name, (student, teacher) in pairs.items():
        states[f"l1{name}"] = PerSample(indices, feature_l1(student, teacher).cpu().numpy())
        states[f"cosine{name}"] = PerSample(indices, feature_cosine(student, teacher).cpu().numpy())
    return states


def feature_l1(student: Tensor, teacher: Tensor) -> Tensor:
    """Return each sample's mean absolute difference (B,) float64 between tokens (B, N, D)."""
    _check_pair(student, teacher)
    return (student.float() - teacher.float()).abs().mean(dim=(1, 2)).double()


def feature_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """Return each sample's mean cosine (B,) float64 between tokens (B, N, D) of equal place; a zero token counts 0."""
    _check_pair(student, teacher)
    return F.cosine_similarity(student.float(), teacher.float(), dim=-1).mean(dim=1).double()


def _check_pair(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape or student.ndim != 3:
        raise ValueError(
            f"expected equal token shapes (B, N, D): student {tuple(student.shape)}, teacher {tuple(teacher.shape)}"
        )
