"""The distillation objective: how an event embedder's features are held against its RGB teacher's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from eventsam.models.embedder import Embedded
from eventsam.models.vit import ImageEncoder
from eventsam.objectives.features import (
    Normalise,
    active_patches,
    feature_distance,
    patch_mask,
    pivotal_weights,
    structure_distance,
    with_prefix,
)


class Region(Protocol):
    """Which patches count."""

    @property
    def reads(self) -> str:
        """The sample key that it looks at."""

    def __call__(self, image: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return 1 for patches that count, else 0, (B, patches), of that key's images (B, C, H, W)."""


@dataclass(frozen=True)
class ObjectPatches:
    """The patches that the object's mask touches."""

    reads: str = "mask"

    def __call__(self, image: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the patches with a pixel of the mask (B, 1, H, W)."""
        return patch_mask(image, grid)


@dataclass(frozen=True)
class EventPatches:
    """The patches that hold an event: elsewhere an event encoder has nothing to see (ScaleEvent, arXiv 2603.03969)."""

    reads: str = "event_image"

    def __call__(self, image: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the patches of the event image (B, C, H, W) that are not of one colour."""
        return active_patches(image, grid)


@dataclass(frozen=True)
class PivotalTokens:
    """Block tokens weigh by the attention that they receive in the teacher's next block (arXiv 2312.16222)."""

    def __call__(self, teacher: ImageEncoder, taps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return weights (B, N) of mean 1 by block; the last block has no next one: its tokens all weigh 1."""
        return {
            block: pivotal_weights(*teacher.query_key(block + 1, tokens), teacher.num_prefix_tokens)
            for block, tokens in taps.items()
            if block + 1 < teacher.num_blocks
        }


@dataclass(frozen=True)
class Structure:
    """Adds `weight` times the distance of the token-to-token cosines of the projected patches."""

    weight: float = 0.5


@dataclass(frozen=True)
class FeatureLoss:
    """L1 on block outputs and on projected tokens, with optional terms.

    loss = block_weight * mean over blocks of beta_l * d_l + projected_weight * d_projected + structure. `betas` are
    spread evenly over the blocks and interpolated between: (0.1, 1) over four blocks is 0.1, 0.4, 0.7, 1 (arXiv
    2312.16222, there without a mean: `block_weight` 4); None is all ones. A `block_weight` of the number of blocks
    gives the plain mean over all terms, up to its scale. `normalise="layer"` compares layer-normed features, so that
    DINOv2's outlier tokens do not decide; `tokens` weighs the blocks' tokens; `region` restricts every term to some
    patches (and CLS and registers).
    """

    block_weight: float = 1.0
    projected_weight: float = 1.0
    betas: tuple[float, ...] | None = None
    normalise: Normalise = "none"
    tokens: PivotalTokens | None = None
    region: Region | None = None
    structure: Structure | None = None

    def block_betas(self, num_blocks: int) -> list[float]:
        """Return one factor per block; raise ValueError for more betas than blocks."""
        betas = (1.0,) if self.betas is None else self.betas
        if not 1 <= len(betas) <= num_blocks:
            raise ValueError(f"{len(betas)} betas {betas} for {num_blocks} blocks, allowed: 1 to {num_blocks}")
        places, known = (np.linspace(0.0, 1.0, count) for count in (num_blocks, len(betas)))
        spread: list[float] = np.interp(places, known, betas).tolist()
        return spread

    def __call__(
        self,
        learned: Embedded,
        taught: Embedded,
        *,
        weights: Mapping[int, Tensor] | None = None,
        patches: Tensor | None = None,
        grid: tuple[int, int],
    ) -> dict[str, Tensor]:
        """Return "loss" and its terms: "block_<i>", "projected" and, where there is one, "structure".

        `weights[i]` (B, N) are the token weights of block i; `patches` (B, rows * columns) says which patches count;
        `grid` is the encoder's (rows, columns). Raises ValueError for a block that the teacher lacks.
        """
        missing = sorted(learned.taps.keys() - taught.taps.keys())
        if missing or not learned.taps:
            raise ValueError(f"student blocks {sorted(learned.taps)}, teacher blocks {sorted(taught.taps)}: {missing=}")
        num_patches = grid[0] * grid[1]

        def distance(student: Tensor, teacher: Tensor, weights: Tensor | None = None) -> Tensor:
            mask = None if patches is None else with_prefix(patches, student.shape[1] - num_patches)
            return feature_distance(student, teacher, weights=weights, mask=mask, normalise=self.normalise)

        given = weights or {}
        blocks = {i: distance(tokens, taught.taps[i], given.get(i)) for i, tokens in learned.taps.items()}
        parts = {f"block_{i}": term for i, term in blocks.items()}
        parts["projected"] = distance(learned.projected, taught.projected)
        loss = self.block_weight * self._mean(blocks) + self.projected_weight * parts["projected"]
        if self.structure is not None:
            tokens, targets = (each.projected[:, -num_patches:] for each in (learned, taught))
            parts["structure"] = structure_distance(tokens, targets, patches)
            loss = loss + self.structure.weight * parts["structure"]
        return {"loss": loss, **parts}

    def _mean(self, blocks: Mapping[int, Tensor]) -> Tensor:
        terms = [blocks[i] for i in sorted(blocks)]
        if self.betas is not None:
            terms = [beta * term for beta, term in zip(self.block_betas(len(terms)), terms, strict=True)]
        return torch.stack(terms).mean()
