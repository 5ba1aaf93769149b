"""Flow matching: straight paths from noise to data, and the loss that teaches their velocity."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from eventsam.models.sam3d.generator import Generator, InjectCondition
from eventsam.models.sam3d.guidance import read_condition
from eventsam.models.sam3d.latents import LATENTS, LOSS_WEIGHTS, Latents, check_latents, check_weights, noise

TIME_MEAN, TIME_STD = -1.0, 1.0
DROP_PROBABILITY = 0.1


class LatentLosses(NamedTuple):
    """`total`, the weighted sum to differentiate, and its unweighted `parts` by "<loss>/<latent>"."""

    total: Tensor
    parts: dict[str, Tensor]


def draw_times(batch: int, rng: torch.Generator, device: torch.device | None = None) -> Tensor:
    """Draw times (B,) in (0, 1): the sigmoid of a normal of mean -1 and deviation 1, so more of them near the noise."""
    drawn = torch.randn(batch, generator=rng, device=rng.device)
    return torch.sigmoid(TIME_MEAN + TIME_STD * drawn).to(device or rng.device)


def between(start: Mapping[str, Tensor], data: Mapping[str, Tensor], time: Tensor) -> Latents:
    """Return (1 - t) noise + t data for each latent of `data`, with times (B,)."""
    at = time[:, None, None]
    return {name: (1 - at) * start[name] + at * data[name] for name in data}


def weighted_losses(
    name: str, predicted: Mapping[str, Tensor], target: Mapping[str, Tensor], weights: Mapping[str, float]
) -> LatentLosses:
    """Return the mean squared errors of the latents in `target`, summed with `weights`; those of weight 0 are left out.

    Raises ValueError where no latent is left.
    """
    used = [latent for latent in LATENTS if latent in target and weights[latent] > 0]
    if not used:
        raise ValueError(f"no loss is left: latents {sorted(target)} with weights {dict(weights)}")
    parts = {latent: (predicted[latent] - target[latent]).square().mean() for latent in used}
    total = torch.stack([weights[latent] * part for latent, part in parts.items()]).sum()
    return LatentLosses(total, {f"{name}/{latent}": part.detach() for latent, part in parts.items()})


def flow_matching_loss(
    generator: Generator,
    data: Latents,
    condition: Tensor,
    *,
    rng: torch.Generator,
    weights: Mapping[str, float] = LOSS_WEIGHTS,
    drop_probability: float = DROP_PROBABILITY,
    inject: InjectCondition | None = None,
) -> LatentLosses:
    """Return the mean squared error of the velocity data - noise at random times (flow matching, arXiv 2210.02747).

    data: clean latents, all five or the shape alone; condition (B, N, D). Everything random comes from `rng`; while the
    generator learns, a sample's condition is dropped with `drop_probability`. Raises ValueError for latents or weights
    that do not fit.
    """
    check_weights(weights)
    check_latents(data, generator.preset, len(condition))
    start = noise(generator.preset, len(condition), rng, condition.device)
    time = draw_times(len(condition), rng, condition.device)
    read = read_condition(generator, condition, inject, drop_probability, rng)
    predicted = generator(between(start, data, time), time, torch.zeros_like(time), read)
    target = {name: data[name] - start[name] for name in data}
    return weighted_losses("flow_matching", predicted, target, weights)
