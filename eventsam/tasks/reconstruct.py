"""Stage 0, reconstruct: RGB and mask (and pointmap) to occupancy; makes the teacher where no SAM 3D weights exist."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from eventsam.metrics.reconstruction import reconstruction_metrics
from eventsam.metrics.state import MetricState
from eventsam.models.reconstructor import Reconstructor
from eventsam.objectives.occupancy import OccupancyLoss
from eventsam.tasks.task import Batch, Task


class Reconstruct(Task):
    """Train a reconstructor against the ground-truth occupancy.

    `rgb` and `mask` name the sample keys that are shown to it. With `silhouette_weight`, the image tokens must also
    tell `mask`, patch by patch: dense supervision that teaches a small encoder to see the object long before the 3-D
    loss alone would. The silhouette head is not part of the model.
    """

    def __init__(
        self,
        model: Reconstructor,
        objective: OccupancyLoss,
        rgb: Literal["rgb", "rgb_blurry", "rgb_edi"] = "rgb",
        mask: Literal["mask", "mask_blurry"] = "mask",
        silhouette_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.silhouette_weight = silhouette_weight
        if silhouette_weight:
            width, patch = model.encoder.width, model.encoder.patch
            self.silhouette = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, patch**2))
        self.model, self.objective, self.rgb, self.mask = model, objective, rgb, mask
        pointmap = ("pointmap",) if model.pointmap_embedder is not None else ()
        outline = ("mask",) if silhouette_weight and mask != "mask" else ()
        self.reads = (rgb, mask, *outline, *pointmap, "occupancy")

    def predict(self, batch: Batch) -> Tensor:
        """Return occupancy logits (B, R, R, R)."""
        logits: Tensor = self.model(batch[self.rgb], batch[self.mask], batch.get("pointmap"))
        return logits

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and its parts."""
        last = self.model.encoder.num_blocks - 1
        seen: list[Tensor] = []

        def keep_last(block: int, tokens: Tensor) -> Tensor:
            if block == last:
                seen.append(tokens)
            return tokens

        logits = self.model(batch[self.rgb], batch[self.mask], batch.get("pointmap"), inject=keep_last)
        losses = self.objective.with_parts(logits, batch["occupancy"])
        if self.silhouette_weight:
            losses["silhouette"] = self._silhouette_loss(seen[0], batch["mask"])
            losses["loss"] = losses["loss"] + self.silhouette_weight * losses["silhouette"]
        return losses

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return volume IoU, Chamfer distances and F-score per sample."""
        return reconstruction_metrics(self.predict(batch) > 0, batch["occupancy"], batch["sample_index"])

    def _silhouette_loss(self, tokens: Tensor, mask: Tensor) -> Tensor:
        patches = self.silhouette(tokens[:, self.model.encoder.num_prefix_tokens :])
        target = functional.pixel_unshuffle(mask.to(patches.dtype), self.model.encoder.patch)
        return functional.binary_cross_entropy_with_logits(patches.transpose(1, 2), target.flatten(2))
