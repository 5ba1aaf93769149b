"""From noise to latents by Euler steps: 25 guided ones, or a few that shortcut training has taught."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from eventsam.models.sam3d.generator import Generator, InjectCondition
from eventsam.models.sam3d.guidance import Guidance, guided_velocity
from eventsam.models.sam3d.latents import Latents, seeded_noise

Velocity = Callable[[Latents, float, float], Latents]
"""(latents, time, length of the coming step) -> velocity."""


def step_times(num_steps: int, rescale: float) -> list[float]:
    """Return the num_steps + 1 times u / (1 + (rescale - 1) (1 - u)), u = 0 .. 1; above 1, steps are short at first."""
    if num_steps < 1 or rescale <= 0:
        raise ValueError(f"num_steps must be at least 1 and rescale above 0, got {num_steps} and {rescale}")
    evenly = [index / num_steps for index in range(num_steps + 1)]
    return [u / (1 + (rescale - 1) * (1 - u)) for u in evenly]


def euler(velocity: Velocity, start: Mapping[str, Tensor], times: Sequence[float]) -> Latents:
    """Follow a velocity from `start` at times[0] to times[-1], one Euler step between neighbouring times."""
    latents = dict(start)
    for time, following in pairwise(times):
        step = following - time
        change = velocity(latents, time, step)
        latents = {name: latents[name] + step * change[name] for name in latents}
    return latents


def sample(
    generator: Generator,
    condition: Tensor,
    *,
    seeds: Sequence[int],
    num_steps: int = 25,
    rescale: float | None = None,
    guidance: Guidance | None = None,
    distilled: bool = False,
    inject: InjectCondition | None = None,
) -> Latents:
    """Sample latents for each condition of a batch, each from the noise of its own seed.

    The normal mode asks for instantaneous velocities (rescale 3 and `Guidance()` unless given: strength 7 while
    1000 t <= 500). `distilled` asks for the velocity of the very step that is taken, which stays true with any
    `rescale` (1 unless given), and knows no guidance: it has been learnt. Gradients flow to `condition` and `inject`
    unless the caller turns them off. With several steps the condition is injected into and projected once for all
    (`Generator.project` says what that takes), unless gradients are to be checkpointed.
    Raises ValueError where the seeds do not match the batch, and for guidance in the distilled mode.
    """
    if len(seeds) != len(condition):
        raise ValueError(f"one seed per sample: {len(seeds)} seeds for {len(condition)} conditions")
    if distilled and guidance is not None and guidance.strength > 0:
        raise ValueError("the distilled sampler takes no guidance; leave it out or set its strength to 0")
    if rescale is None:
        rescale = 1.0 if distilled else 3.0
    chosen = None if distilled else guidance or Guidance()
    read = generator.read(condition, inject)
    if num_steps > 1 and not (generator.checkpointing and torch.is_grad_enabled()):
        read = generator.project(read)

    def velocity(latents: Latents, time: float, step: float) -> Latents:
        now = torch.full((len(condition),), time, device=condition.device, dtype=generator.dtype)
        length = torch.full_like(now, step if distilled else 0.0)
        acting = chosen if chosen is not None and chosen.acts_at(time) else None
        return guided_velocity(generator, latents, now, length, read, acting)

    noise = seeded_noise(generator.preset, seeds, condition.device)
    start = {name: tensor.to(generator.dtype) for name, tensor in noise.items()}
    return euler(velocity, start, step_times(num_steps, rescale))
