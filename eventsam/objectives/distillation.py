"""The distillation objective: how an event embedder's features are held against its RGB teacher's."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from eventsam.models.embedder import Embedded
from eventsam.objectives.features import (
    Normalise,
    block_distance,
    feature_distance,
    patch_mask,
    structure_distance,
    with_prefix,
)


@dataclass(frozen=True)
class FeatureLoss:
    """L1 on block outputs and on projected tokens, with optional terms.

    `normalise="layer"` compares layer-normed features; `pivotal` weighs block tokens by the attention they receive in
    the teacher (arXiv 2312.16222); `masked` restricts all terms to patches that touch the object mask;
    `structure_weight` adds the token-to-token cosine term on the projected patches.
    """

    block_weight: float = 1.0
    projected_weight: float = 1.0
    structure_weight: float = 0.0
    normalise: Normalise = "none"
    pivotal: bool = False
    masked: bool = False

    def __call__(
        self,
        learned: Embedded,
        taught: Embedded,
        *,
        weights: Mapping[int, Tensor] | None = None,
        mask: Tensor | None = None,
        grid: tuple[int, int],
    ) -> dict[str, Tensor]:
        """Return the loss and its parts.

        `weights[i]` (B, N) are the pivotal weights of block i; `mask` is the object mask (B, 1, H, W); `grid` is the
        encoder's (rows, columns) of patches.
        """
        patches = patch_mask(mask, grid) if self.masked and mask is not None else None
        num_patches = grid[0] * grid[1]
        projected_mask, block_mask = None, None
        if patches is not None:
            projected_mask = with_prefix(patches, learned.projected.shape[1] - num_patches)
            num_tokens = next(iter(learned.taps.values())).shape[1]
            block_mask = with_prefix(patches, num_tokens - num_patches)
        parts = {
            "block_l1": block_distance(
                learned.taps, taught.taps, weights=weights, mask=block_mask, normalise=self.normalise
            ),
            "projected_l1": feature_distance(
                learned.projected, taught.projected, mask=projected_mask, normalise=self.normalise
            ),
        }
        loss = self.block_weight * parts["block_l1"] + self.projected_weight * parts["projected_l1"]
        if self.structure_weight:
            first = learned.projected.shape[1] - num_patches
            parts["structure"] = structure_distance(learned.projected[:, first:], taught.projected[:, first:], patches)
            loss = loss + self.structure_weight * parts["structure"]
        return {"loss": loss, **parts}
