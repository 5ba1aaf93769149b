"""Feature objectives of distillation: token distances, and the weights and masks that say which tokens matter."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Normalise = Literal["none", "layer"]
"""What is done to features first: nothing, or LayerNorm without parameters on each token."""


def feature_distance(
    student: Tensor,
    teacher: Tensor,
    *,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    normalise: Normalise = "none",
) -> Tensor:
    """Return the mean absolute difference of tokens (B, N, D) as a scalar; the teacher gets no gradient.

    `weights` (B, N) multiply the tokens' distances: pivotal weights have mean 1 (arXiv 2312.16222). `mask` (B, N), 0 or
    1 or a share, restricts the mean to tokens: per sample, then over samples; a sample without any counts 0 (masked
    distillation as in ScaleEvent's ablation). `normalise="layer"` compares directions and contrasts of each token
    and not its size: single DINOv2 tokens with outlier norms (arXiv 2309.16588) otherwise decide an L1 mean.
    Raises ValueError where shapes disagree.
    """
    _check_pair(student, teacher)
    student, teacher = _normalised(student, normalise), _normalised(teacher.detach(), normalise)
    distance = (student - teacher).abs().mean(dim=-1)
    if weights is not None:
        distance = distance * _fitting(weights, distance, "weights")
    if mask is None:
        return distance.mean()
    kept = _fitting(mask, distance, "mask")
    return ((distance * kept).sum(dim=1) / kept.sum(dim=1).clamp_min(1e-6)).mean()


def structure_distance(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean absolute difference of the token-to-token cosine matrices, tokens (B, N, D), as a scalar.

    What is kept is which tokens resemble which, whatever the features' basis: similarity-preserving distillation
    (arXiv 1907.09682), the kind of structure term that raises plain L1 distillation most in ScaleEvent's ablation
    (arXiv 2603.03969). Give patch tokens only. `mask` (B, N) keeps pairs whose two tokens are inside.
    """
    _check_pair(student, teacher)
    difference = (cosine_matrix(student) - cosine_matrix(teacher.detach())).abs()
    if mask is None:
        return difference.mean()
    kept = _fitting(mask, difference[..., 0], "mask")
    pairs = kept[:, :, None] * kept[:, None, :]
    return ((difference * pairs).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp_min(1e-6)).mean()


def cosine_matrix(tokens: Tensor) -> Tensor:
    """Return the cosines between all tokens (B, N, D) of a sample: (B, N, N)."""
    directions = F.normalize(_precise(tokens), dim=-1)
    return directions @ directions.transpose(1, 2)


def attention_received(queries: Tensor, keys: Tensor, num_prefix_tokens: int) -> Tensor:
    """Return how much attention each patch receives from the patches, (B, patches), with mean 1 per sample.

    For queries and keys (B, heads, N, D / heads) of one block: c_j = sum_i A_ij with A the mean of the heads' softmax
    attention; the rows and columns of CLS and registers are dropped. One head at a time, since the attention of
    1374 tokens and 16 heads would not fit beside a large batch.
    """
    scale = queries.shape[-1] ** -0.5
    received = torch.zeros((), device=queries.device)
    for head in range(queries.shape[1]):
        scores = _precise(queries[:, head, num_prefix_tokens:]) @ _precise(keys[:, head]).transpose(1, 2) * scale
        received = received + scores.softmax(dim=-1)[:, :, num_prefix_tokens:].sum(dim=1)
    return received / received.mean(dim=1, keepdim=True).clamp_min(1e-12)


@torch.no_grad()
def pivotal_weights(queries: Tensor, keys: Tensor, num_prefix_tokens: int) -> Tensor:
    """Return token weights w = (c + 1) / 2 for the output of block l, from the *teacher's* block l + 1: (B, N), mean 1.

    c is `attention_received` ("Segment Any Events via Weighted Adaptation of Pivotal Tokens", arXiv 2312.16222; there
    without CLS and registers, which get weight 1 here). Queries and keys: `ImageEncoder.query_key(l + 1, taps[l])`.
    """
    received = attention_received(queries, keys, num_prefix_tokens)
    return with_prefix((received + 1) / 2, num_prefix_tokens)


def with_prefix(values: Tensor, num_prefix_tokens: int, value: float = 1.0) -> Tensor:
    """Put one value for each of CLS and registers before patch values: (B, patches) to (B, prefix + patches)."""
    return F.pad(values, (num_prefix_tokens, 0), value=value)


def patch_mask(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return 1 for patches of a (rows, columns) grid that the mask (B, 1, H, W) touches, else 0: (B, patches)."""
    return F.adaptive_max_pool2d((mask > 0).float(), grid).flatten(1)


def active_patches(event_image: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return 1 for patches of a (rows, columns) grid that hold an event, else 0: (B, patches).

    A patch without events has one value per channel, whatever the background of the event image (B, C, H, W) is.
    """
    values = event_image.float()
    highest, lowest = F.adaptive_max_pool2d(values, grid), -F.adaptive_max_pool2d(-values, grid)
    return (highest > lowest).any(dim=1).float().flatten(1)


def _normalised(tokens: Tensor, normalise: Normalise) -> Tensor:
    if normalise == "none":
        return tokens
    if normalise == "layer":
        return F.layer_norm(tokens, tokens.shape[-1:])
    raise ValueError(f"normalise must be 'none' or 'layer', got {normalise!r}")


def _precise(tokens: Tensor) -> Tensor:
    """Half precision is too coarse for sums over a thousand tokens."""
    return tokens.to(torch.promote_types(tokens.dtype, torch.float32))


def _check_pair(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape or student.ndim != 3:
        raise ValueError(
            f"expected equal token shapes (B, N, D): student {tuple(student.shape)}, teacher {tuple(teacher.shape)}"
        )


def _fitting(values: Tensor, distance: Tensor, name: str) -> Tensor:
    if values.shape != distance.shape:
        raise ValueError(f"{name} have shape {tuple(values.shape)}, the tokens {tuple(distance.shape)}")
    return values.to(distance.dtype)
