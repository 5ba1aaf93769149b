"""Stage 0, reconstruct: RGB and mask (and pointmap) to occupancy; makes the teacher where no SAM 3D weights exist."""

from typing import Literal

from torch import Tensor

from eventsam.metrics.reconstruction import reconstruction_metrics
from eventsam.metrics.state import MetricState
from eventsam.models.reconstructor import Reconstructor
from eventsam.objectives.occupancy import OccupancyLoss
from eventsam.tasks.task import Batch, Task


class Reconstruct(Task):
    """Train a reconstructor against the ground-truth occupancy.

    `rgb` and `mask` name the sample keys that are shown to it.
    """

    def __init__(
        self,
        model: Reconstructor,
        objective: OccupancyLoss,
        rgb: Literal["rgb", "rgb_blurry", "rgb_edi"] = "rgb",
        mask: Literal["mask", "mask_blurry"] = "mask",
    ) -> None:
        super().__init__()
        self.model, self.objective, self.rgb, self.mask = model, objective, rgb, mask
        pointmap = ("pointmap",) if model.pointmap_embedder is not None else ()
        self.reads = (rgb, mask, *pointmap, "occupancy")

    def predict(self, batch: Batch) -> Tensor:
        """Return occupancy logits (B, R, R, R)."""
        logits: Tensor = self.model(batch[self.rgb], batch[self.mask], batch.get("pointmap"))
        return logits

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and its parts."""
        return self.objective.with_parts(self.predict(batch), batch["occupancy"])

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return volume IoU, Chamfer distances and F-score per sample."""
        return reconstruction_metrics(self.predict(batch) > 0, batch["occupancy"], batch["sample_index"])
