"""Stage 0 for a SAM-3D-shaped model: sharp RGB and mask to latents of the occupancy; needs no released weights."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventsam.metrics.reconstruction import reconstruction_metrics
from eventsam.metrics.state import MetricState
from eventsam.models.sam3d.inputs import ConditionInputs
from eventsam.models.sam3d.latents import SHAPE, SHAPE_ONLY
from eventsam.models.sam3d.model import DISTILLED, Sam3d, Sampling
from eventsam.models.sam3d.tokens import Condition
from eventsam.models.sam3d.vae import OccupancyVae, to_tokens
from eventsam.models.vit import check_preset as check_encoder
from eventsam.objectives.generation import GenerationLoss, ShortcutMatching, Target
from eventsam.tasks.sam3d_inputs import Shown, seeded, seeds_of
from eventsam.tasks.task import Batch, Task


class GenerateOccupancy(Task):
    """Train embedder and generator to sample the shape latents of the ground-truth occupancy.

    The latent space is that of `vae`, which stays frozen; the model takes its decoder. With `silhouette_weight`, the
    crop's image tokens must also tell the sharp frame's mask, patch by patch: dense supervision that teaches a small
    encoder to see the object long before the generator's loss would. Reported are the metrics of four-step samples.
    """

    frozen = ("vae", "model.decoder")

    def __init__(
        self,
        model: Sam3d,
        vae: OccupancyVae,
        objective: GenerationLoss = ShortcutMatching(weights=SHAPE_ONLY),
        shown: Shown = Shown(),
        rgb: Literal["rgb", "rgb_blurry"] = "rgb",
        silhouette_weight: float = 0.0,
        sampling: Sampling = DISTILLED,
    ) -> None:
        super().__init__()
        self.vae, self.model, self.objective = vae, model, objective
        self.model.decoder.load_state_dict(vae.states()["decoder"])
        self.shown, self.rgb, self.sampling = shown, rgb, sampling
        self.silhouette_weight = silhouette_weight
        if silhouette_weight:
            width, self.patch = self.model.preset.condition_width, check_encoder(self.model.preset.encoder).patch
            self.silhouette = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.patch**2))
        outline = ("mask",) if silhouette_weight else ()
        self.reads = tuple(dict.fromkeys((rgb, *shown.reads, *outline, "occupancy")))
        self.freeze()

    def predict(self, batch: Batch) -> Tensor:
        """Return occupancy logits (B, R, R, R), sampled from each sample's own seed."""
        inputs = self._inputs(batch)
        return self.model.reconstruct(inputs, seeds_of(batch), self.sampling).logits

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and its parts."""
        with torch.no_grad():
            latents = to_tokens(self.vae.encode(batch["occupancy"]).mean)
        inputs = self._inputs(batch)
        condition = self.model.condition(inputs)
        target = Target({SHAPE: latents}, batch["occupancy"])
        losses = self.objective(self.model, condition, target, seeded(batch))
        if self.silhouette_weight:
            losses["silhouette"] = self._silhouette_loss(condition, batch)
            losses["loss"] = losses["loss"] + self.silhouette_weight * losses["silhouette"]
        return losses

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return volume IoU, Chamfer distances and F-score per sample."""
        return reconstruction_metrics(self.predict(batch) > 0, batch["occupancy"], batch["sample_index"])

    def _inputs(self, batch: Batch) -> ConditionInputs:
        return self.shown.inputs(batch, self.rgb, self.model.preset.image_size, events=False)

    def _silhouette_loss(self, condition: Condition, batch: Batch) -> Tensor:
        patches = self.silhouette(condition.group("image")[:, 1:])
        outline = self.shown.crop_of(batch, "mask", self.model.preset.image_size)
        target = functional.pixel_unshuffle(outline.to(patches.dtype), self.patch)
        return functional.binary_cross_entropy_with_logits(patches.transpose(1, 2), target.flatten(2))
