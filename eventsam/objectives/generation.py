"""What a fusion around a generative model learns from: the teacher's latents, or what a few steps make of the noise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from eventsam.models.sam3d.flow import flow_matching_loss
from eventsam.models.sam3d.latents import LATENTS, LOSS_WEIGHTS, SHAPE, Latents, check_weights
from eventsam.models.sam3d.model import Sam3d, Sampling
from eventsam.models.sam3d.shortcut import Shortcut, shortcut_loss
from eventsam.models.sam3d.tokens import Condition
from eventsam.objectives.occupancy import OccupancyLoss


class Target(NamedTuple):
    """What the teacher made of B sharp frames: clean `latents`, all five or the shape, and `occupancy` (B, R, R, R)."""

    latents: Latents
    occupancy: Tensor


class GenerationLoss(Protocol):
    """A loss of a model under a condition; it returns "loss" and its named parts, and draws from `rng` alone."""

    def __call__(self, model: Sam3d, condition: Condition, target: Target, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the loss of a batch."""


@dataclass(frozen=True)
class FlowMatching:
    """The squared error of the velocity towards the teacher's latents (arXiv 2210.02747), summed with `weights`."""

    weights: Mapping[str, float] = field(default_factory=lambda: dict(LOSS_WEIGHTS))

    def __post_init__(self) -> None:
        check_weights(self.weights)

    def __call__(self, model: Sam3d, condition: Condition, target: Target, rng: torch.Generator) -> dict[str, Tensor]:
        """Return "loss" and "flow_matching/<latent>"."""
        losses = flow_matching_loss(
            model.generator,
            target.latents,
            condition.released,
            rng=rng,
            weights=self.weights,
            inject=model.inject(condition),
        )
        return {"loss": losses.total, **losses.parts}


@dataclass(frozen=True)
class ShortcutMatching:
    """Flow matching and, now and then, self-consistency of long steps (arXiv 2410.12557): for samplers of few steps."""

    options: Shortcut = field(default_factory=Shortcut)
    weights: Mapping[str, float] = field(default_factory=lambda: dict(LOSS_WEIGHTS))

    def __post_init__(self) -> None:
        check_weights(self.weights)

    def __call__(self, model: Sam3d, condition: Condition, target: Target, rng: torch.Generator) -> dict[str, Tensor]:
        """Return "loss" and the parts of whichever of the two the batch learned."""
        losses = shortcut_loss(
            model.generator,
            target.latents,
            condition.released,
            rng=rng,
            options=self.options,
            weights=self.weights,
            inject=model.inject(condition),
        )
        return {"loss": losses.total, **losses.parts}


@dataclass(frozen=True)
class Direct:
    """What `num_steps` Euler steps from fresh noise make of the condition, against what the teacher made.

    The gradient runs through all steps. `occupancy` compares the decoded grid, weighing as much as the shape's weight;
    the pose latents are compared with the teacher's by squared error, each with its own weight.
    Raises ValueError for fewer than one step and for weights that do not fit.
    """

    num_steps: int = 1
    occupancy: OccupancyLoss = field(default_factory=OccupancyLoss)
    weights: Mapping[str, float] = field(default_factory=lambda: dict(LOSS_WEIGHTS))

    def __post_init__(self) -> None:
        check_weights(self.weights)
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.num_steps}")

    def __call__(self, model: Sam3d, condition: Condition, target: Target, rng: torch.Generator) -> dict[str, Tensor]:
        """Return "loss", the occupancy's parts and "direct/<latent>" for every weighed pose latent that is there."""
        seeds = torch.randint(2**62, (len(condition.tokens),), generator=rng).tolist()
        latents = model.generate(condition, seeds, Sampling(self.num_steps, distilled=True))
        parts = self.occupancy.with_parts(model.decoder(latents[SHAPE]).squeeze(1), target.occupancy)
        total = self.weights[SHAPE] * parts.pop("loss")
        for name in LATENTS:
            if name != SHAPE and name in target.latents and self.weights[name]:
                error = (latents[name] - target.latents[name]).square().mean()
                total = total + self.weights[name] * error
                parts[f"direct/{name}"] = error.detach()
        return {"loss": total, **{name: part.detach() for name, part in parts.items()}}
