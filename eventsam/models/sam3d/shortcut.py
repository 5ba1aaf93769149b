"""Shortcut training: one long step must land where two half as long do, so that a few steps suffice to sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from eventsam.models.sam3d.flow import DROP_PROBABILITY, LatentLosses, between, flow_matching_loss, weighted_losses
from eventsam.models.sam3d.generator import BlockCondition, Generator, InjectCondition
from eventsam.models.sam3d.guidance import Guidance, guided_velocity, read_condition
from eventsam.models.sam3d.latents import LOSS_WEIGHTS, Latents, check_latents, check_weights, noise

MAX_HALVINGS = 7


@dataclass(frozen=True)
class Shortcut:
    """How often a whole batch learns self-consistency instead of flow matching, and how often its targets are guided.

    Raises ValueError for a probability outside [0, 1] or a negative weight.
    """

    consistency_probability: float = 0.25
    guided_probability: float = 0.25
    guidance: Guidance = field(default_factory=lambda: Guidance(strength=2.0))
    consistency_weight: float = 1.0

    def __post_init__(self) -> None:
        probabilities = (self.consistency_probability, self.guided_probability)
        if not all(0 <= probability <= 1 for probability in probabilities) or self.consistency_weight < 0:
            raise ValueError(f"probabilities must be in [0, 1] and the weight >= 0, got {self}")


def draw_grid(batch: int, rng: torch.Generator, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Draw times t and steps d, both (B,): d from 1/2, 1/4, ..., 1/128 and t = 2 d k, k = 0 .. 1 / (2 d) - 1.

    So the double step never passes the data, t + 2 d <= 1, and every (t, 2 d) is one that a sampler of 1 / (2 d) equal
    steps asks for. All are exact in float32.
    """
    halves = torch.tensor([0.5**halvings for halvings in range(1, MAX_HALVINGS + 1)], device=rng.device)
    step = halves[torch.randint(MAX_HALVINGS, (batch,), generator=rng, device=rng.device)]
    # Factors that are powers of two round nothing, so a uniform number below 1 stays below the count.
    index = (torch.rand(batch, generator=rng, device=rng.device) / (2 * step)).floor()
    time = 2 * step * index
    return time.to(device or rng.device), step.to(device or rng.device)


@torch.no_grad()
def consistency_target(
    generator: Generator,
    latents: Mapping[str, Tensor],
    time: Tensor,
    step: Tensor,
    condition: Sequence[BlockCondition],
    guidance: Guidance | None,
) -> Latents:
    """Return the mean velocity of two steps of length `step` from (latents, time): (v1 + v2) / 2, without gradient."""
    projected = generator.project(condition)
    first = guided_velocity(generator, latents, time, step, projected, guidance)
    halfway = {name: latents[name] + step[:, None, None] * first[name] for name in latents}
    second = guided_velocity(generator, halfway, time + step, step, projected, guidance)
    return {name: (first[name] + second[name]) / 2 for name in latents}


def consistency_loss(
    generator: Generator,
    data: Latents,
    condition: Tensor,
    *,
    rng: torch.Generator,
    guidance: Guidance | None = None,
    weights: Mapping[str, float] = LOSS_WEIGHTS,
    drop_probability: float = DROP_PROBABILITY,
    inject: InjectCondition | None = None,
) -> LatentLosses:
    """Return the squared error between the double step's velocity and the mean of its two halves.

    Source: shortcut models, arXiv 2410.12557, section 3. A condition that is dropped is dropped in targets and
    prediction alike. Arguments as for `flow_matching_loss`; `guidance` sharpens the targets.
    """
    check_weights(weights)
    check_latents(data, generator.preset, len(condition))
    start = noise(generator.preset, len(condition), rng, condition.device)
    time, step = draw_grid(len(condition), rng, condition.device)
    read = read_condition(generator, condition, inject, drop_probability, rng)
    latents = between(start, data, time)
    target = consistency_target(generator, latents, time, step, read, guidance)
    predicted = generator(latents, time, 2 * step, read)
    return weighted_losses("consistency", predicted, target, weights)


def shortcut_loss(
    generator: Generator,
    data: Latents,
    condition: Tensor,
    *,
    rng: torch.Generator,
    options: Shortcut = Shortcut(),
    weights: Mapping[str, float] = LOSS_WEIGHTS,
    drop_probability: float = DROP_PROBABILITY,
    inject: InjectCondition | None = None,
) -> LatentLosses:
    """Return the flow-matching loss of the batch or, by `options`' probability, its self-consistency loss.

    Arguments as for `flow_matching_loss`. Two numbers are drawn from `rng` for the choice, whichever it is.
    """
    learns_consistency, is_guided = torch.rand(2, generator=rng, device=rng.device).tolist()
    if learns_consistency >= options.consistency_probability:
        return flow_matching_loss(
            generator, data, condition, rng=rng, weights=weights, drop_probability=drop_probability, inject=inject
        )
    losses = consistency_loss(
        generator,
        data,
        condition,
        rng=rng,
        guidance=options.guidance if is_guided < options.guided_probability else None,
        weights=weights,
        drop_probability=drop_probability,
        inject=inject,
    )
    return LatentLosses(options.consistency_weight * losses.total, losses.parts)
