"""Classifier-free guidance: dropping conditions while the generator learns, and sharpening what it has learnt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eventsam.models.sam3d.generator import BlockCondition, Generator, InjectCondition
from eventsam.models.sam3d.latents import LATENTS, SHAPE, Latents
from eventsam.unknown_name import unknown_name


@dataclass(frozen=True)
class Guidance:
    """v = (1 + strength) v_conditional - strength v_unconditional for the `modalities`; the others stay conditional.

    While sampling it acts where `interval[0] <= 1000 t <= interval[1]`. Raises ValueError for an unknown modality,
    none, a negative strength or an empty interval.
    """

    strength: float = 7.0
    interval: tuple[float, float] = (0.0, 500.0)
    modalities: tuple[str, ...] = (SHAPE,)

    def __post_init__(self) -> None:
        for name in self.modalities:
            if name not in LATENTS:
                raise ValueError(unknown_name("latent", name, LATENTS))
        if not self.modalities or self.strength < 0 or self.interval[0] > self.interval[1]:
            raise ValueError(f"guidance needs a modality, strength >= 0 and an interval in order, got {self}")

    def acts_at(self, time: float) -> bool:
        """Return whether guidance changes anything at a time in [0, 1]."""
        return self.strength > 0 and self.interval[0] <= 1000 * time <= self.interval[1]


def read_condition(
    generator: Generator,
    condition: Tensor,
    inject: InjectCondition | None,
    drop_probability: float,
    rng: torch.Generator,
) -> tuple[BlockCondition, ...]:
    """Return `generator.read(condition, inject)`, some samples' tokens multiplied by 0 while the generator learns.

    What was injected is dropped with the rest. In eval mode, and where the generator is frozen, nothing is ever
    dropped: a frozen generator has no unconditional branch to train, and a teacher must see all of its input.
    """
    if not generator.learns or drop_probability == 0:
        return generator.read(condition, inject)
    drawn = torch.rand(len(condition), 1, 1, generator=rng, device=rng.device).to(condition.device)

    def kept(tokens: Tensor) -> Tensor:
        return tokens.where(drawn >= drop_probability, torch.zeros_like(tokens))

    def injected(index: int, tokens: Tensor) -> Tensor:
        changed = tokens if inject is None else inject(index, tokens)
        return tokens if changed is tokens else kept(changed)

    return generator.read(kept(condition), injected)


def guided_velocity(
    generator: Generator,
    latents: Mapping[str, Tensor],
    time: Tensor,
    step: Tensor,
    condition: Tensor | Sequence[BlockCondition],
    guidance: Guidance | None,
    *,
    inject: InjectCondition | None = None,
) -> Latents:
    """Return the velocity, guided unless `guidance` is None; arguments as for the generator."""
    velocity = generator(latents, time, step, condition, inject=inject)
    if guidance is None or guidance.strength == 0:
        return velocity  # type: ignore[no-any-return]
    guided = [name for name in guidance.modalities if name in latents]
    unconditional = unconditional_velocity(generator, latents, time, step, guided)
    sharpened = {
        name: (1 + guidance.strength) * velocity[name] - guidance.strength * unconditional[name] for name in guided
    }
    return velocity | sharpened  # type: ignore[no-any-return]


def unconditional_velocity(
    generator: Generator, latents: Mapping[str, Tensor], time: Tensor, step: Tensor, modalities: Sequence[str] = LATENTS
) -> Latents:
    """Return the velocity of `modalities` for a condition of zeros, without the cost of one.

    All tokens of such a condition are equal, so attention to any number of them is attention to one; and the shape does
    not read the pose, so the pose is left out where only the shape is wanted.
    """
    batch, width = len(time), generator.preset.condition_width
    nothing = torch.zeros(batch, 1, width, device=time.device, dtype=generator.dtype)
    if set(modalities) <= {SHAPE}:
        latents = {SHAPE: latents[SHAPE]}
    return generator(latents, time, step, nothing)  # type: ignore[no-any-return]
