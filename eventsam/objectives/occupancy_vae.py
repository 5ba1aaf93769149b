"""Autoencoder objective: class-balanced cross-entropy of the decoded grid plus a small KL term."""

from dataclasses import dataclass

from torch import Tensor

from eventsam.models.sam3d.vae import Posterior
from eventsam.objectives.occupancy import OccupancyLoss


@dataclass(frozen=True)
class OccupancyVaeLoss:
    """reconstruction + kl_weight * KL(posterior || standard normal), the KL as a mean per latent number, in nats.

    The weight is small: the latents need a smooth space, not a prior that they can be drawn from, which is the
    generator's work (arXiv 2112.10752, section 3.1). With gamma 0, the reconstruction is the mean of the filled cells'
    and the empty cells' mean cross-entropy, plus Dice. Raises ValueError for a weight below 0.
    """

    reconstruction: OccupancyLoss
    kl_weight: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse a KL that is rewarded."""
        if self.kl_weight < 0:
            raise ValueError(f"kl_weight must be 0 or more, got {self.kl_weight}")

    def with_parts(self, logits: Tensor, target: Tensor, posterior: Posterior) -> dict[str, Tensor]:
        """Return "loss" and its parts for logits and target (B, R, R, R) and the latents' distribution."""
        parts = self.reconstruction.with_parts(logits, target)
        kl = kl_to_standard_normal(posterior)
        return {**parts, "loss": parts["loss"] + self.kl_weight * kl, "kl": kl}


def kl_to_standard_normal(posterior: Posterior) -> Tensor:
    """Return KL(N(m, v) || N(0, 1)) = (m^2 + v - 1 - log v) / 2 in nats, the mean over all latent numbers."""
    mean, log_variance = posterior.mean.float(), posterior.log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
