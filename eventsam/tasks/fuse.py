"""Stage 2, fuse: blurry RGB and events are fused so that the frozen reconstructor sees what sharp RGB would show."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from eventsam.metrics.reconstruction import reconstruction_metrics
from eventsam.metrics.state import MetricState
from eventsam.models.embedder import ImageEmbedder
from eventsam.models.fusion.injected import FINAL, Injected
from eventsam.models.reconstructor import Reconstructor
from eventsam.objectives.occupancy import OccupancyLoss
from eventsam.tasks.task import Batch, Task


class Fuse(Task):
    """Train only the fusion (Event-SAM3D stage 2).

    The target is the reconstructor's own occupancy from sharp RGB ("teacher"), the ground truth ("truth"), or their
    mean ("both"); the mask is the blurry frame's for both, so that they differ in the image alone. `injection_blocks`
    are blocks of the RGB encoder, or "final" for its projected tokens; None takes the defaults for its depth.
    """

    frozen = ("reconstructor", "event_embedder")

    def __init__(
        self,
        reconstructor: Reconstructor,
        event_embedder: ImageEmbedder,
        objective: OccupancyLoss,
        fusion: str = "flamingo",
        injection_blocks: Sequence[int] | Literal["final"] | None = None,
        num_heads: int = 8,
        target: Literal["teacher", "truth", "both"] = "teacher",
    ) -> None:
        super().__init__()
        self.reconstructor, self.event_embedder = reconstructor, event_embedder
        self.objective, self.target = objective, target
        encoder = reconstructor.encoder
        if event_embedder.encoder.preset != encoder.preset:
            raise ValueError(
                f"the event encoder is {event_embedder.encoder.preset!r}, the reconstructor's {encoder.preset!r}: "
                "distil one of the same sizes"
            )
        width = reconstructor.width if injection_blocks == FINAL else encoder.width
        self.fusion = Injected(fusion, width, injection_blocks, num_heads, encoder.num_blocks)
        pointmap = ("pointmap",) if reconstructor.pointmap_embedder is not None else ()
        sharp = ("rgb",) if target != "truth" else ()
        self.reads = ("rgb_blurry", "mask_blurry", "event_image", *sharp, *pointmap, "occupancy")
        self.freeze()

    def predict(self, batch: Batch) -> Tensor:
        """Return occupancy logits (B, R, R, R) from blurry RGB and events."""
        with torch.no_grad():
            events = self.event_embedder(batch["event_image"], self.fusion.taps)
        logits: Tensor = self.reconstructor(
            batch["rgb_blurry"],
            batch["mask_blurry"],
            batch.get("pointmap"),
            inject=self.fusion.inject(events.taps),
            fuse_tokens=self.fusion.fuse_tokens(events.projected),
        )
        return logits

    def predict_rgb(self, batch: Batch, key: str) -> Tensor:
        """Return occupancy logits (B, R, R, R) from the frame under a sample key alone."""
        logits: Tensor = self.reconstructor(batch[key], batch["mask_blurry"], batch.get("pointmap"))
        return logits

    def predict_events(self, batch: Batch) -> Tensor:
        """Return occupancy logits (B, R, R, R) from events alone: their projected tokens take the frame's place."""
        projected = self.event_embedder(batch["event_image"]).projected
        return self.reconstructor.decode(projected, batch["mask_blurry"], batch.get("pointmap"))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss against the target and its parts."""
        return self.objective.with_parts(self.predict(batch), self._target(batch))

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return volume IoU, Chamfer distances and F-score per sample, against the ground truth."""
        return reconstruction_metrics(self.predict(batch) > 0, batch["occupancy"], batch["sample_index"])

    def gauges(self) -> dict[str, float]:
        """Return the fusion's gates."""
        return {f"gate/{name}": value for name, value in self.fusion.gates().items()}

    @torch.no_grad()
    def _target(self, batch: Batch) -> Tensor:
        truth = batch["occupancy"].float()
        if self.target == "truth":
            return truth
        logits: Tensor = self.reconstructor(batch["rgb"], batch["mask_blurry"], batch.get("pointmap"))
        taught = torch.sigmoid(logits.float())
        return taught if self.target == "teacher" else (taught + truth) / 2
