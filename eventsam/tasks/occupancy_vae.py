"""The latent space of shapes: an occupancy autoencoder for the presets that no released weights exist for."""

import torch
from torch import Tensor

from eventsam.metrics.reconstruction import reconstruction_metrics
from eventsam.metrics.state import MetricState, PerSample
from eventsam.models.sam3d.vae import OccupancyVae
from eventsam.objectives.occupancy_vae import OccupancyVaeLoss
from eventsam.tasks.task import Batch, Task


class AutoencodeOccupancy(Task):
    """Train encoder and decoder on the catalog's occupancy grids alone.

    Reported beside the shape metrics of the decoded mean: `latent_mean` and `latent_square`, the latents' first two
    moments, which the generator wants at 0 and 1.
    """

    reads = ("occupancy",)

    def __init__(self, model: OccupancyVae, objective: OccupancyVaeLoss) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of latents drawn from the encoder's distribution, and its parts."""
        posterior = self.model.encode(batch["occupancy"])
        logits = self.model.decode(posterior.sample()).squeeze(1)
        return self.objective.with_parts(logits, batch["occupancy"], posterior)

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return volume IoU, Chamfer distances, F-score and the latents' moments per sample."""
        mean, indices = self.model.encode(batch["occupancy"]).mean, batch["sample_index"]
        filled = self.model.decode(mean).squeeze(1) > 0
        moments = {"latent_mean": mean, "latent_square": mean.square()}
        states: dict[str, MetricState] = {
            name: PerSample(indices.cpu().numpy(), values.flatten(1).mean(dim=1).cpu().numpy())
            for name, values in moments.items()
        }
        return reconstruction_metrics(filled, batch["occupancy"], indices) | states

    @torch.no_grad()
    def gauges(self) -> dict[str, float]:
        """Return the encoder's own scale, which the latents are freed of."""
        scale = self.model.latent_scale
        return {"latent_scale/mean": float(scale.mean.abs().mean()), "latent_scale/std": float(scale.std.mean())}
