"""The five latents that are denoised together: names, shapes, loss weights and noise."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from eventsam.models.sam3d.presets import Sam3dPreset
from eventsam.unknown_name import unknown_name

Latents = dict[str, Tensor]
"""Each latent (B, tokens, channels) by name."""

SHAPE = "shape"
ROTATION = "6drotation_normalized"
TRANSLATION = "translation"
SCALE = "scale"
TRANSLATION_SCALE = "translation_scale"

POSE_CHANNELS: Mapping[str, int] = {ROTATION: 6, TRANSLATION: 3, SCALE: 3, TRANSLATION_SCALE: 1}
"""Channels of the pose latents, one token each: normalised 6-D rotation; translation in the normalised pointmap; log
scale per axis; log scale of the translation, which the released pose convention leaves unread."""

LATENTS = (SHAPE, *POSE_CHANNELS)
"""All names, in the order in which their noise is drawn."""

LOSS_WEIGHTS: Mapping[str, float] = {SHAPE: 1.0, ROTATION: 0.1, TRANSLATION: 1.0, SCALE: 0.1, TRANSLATION_SCALE: 0.0}
"""Weights of the latents in every loss. Those released, but for the shape's, which is 0 there and would not train."""

SHAPE_ONLY: Mapping[str, float] = {name: float(name == SHAPE) for name in LATENTS}
"""Weights that train the shape alone."""


def latent_sizes(preset: Sam3dPreset) -> dict[str, tuple[int, int]]:
    """Return (tokens, channels) of each latent; shape tokens run over x, y, z with z fastest."""
    pose = {name: (1, channels) for name, channels in POSE_CHANNELS.items()}
    return {SHAPE: (preset.num_shape_tokens, preset.latent_channels), **pose}


def noise(preset: Sam3dPreset, batch: int, generator: torch.Generator, device: torch.device | None = None) -> Latents:
    """Draw a batch of normal latents from `generator`, on its device, and move them to `device`."""
    return {
        name: torch.randn(batch, *size, generator=generator, device=generator.device).to(device or generator.device)
        for name, size in latent_sizes(preset).items()
    }


def seeded_noise(preset: Sam3dPreset, seeds: Sequence[int], device: torch.device | None = None) -> Latents:
    """Draw each sample from its own seed, on the CPU: the same in any batch, at any place in it, on any device."""
    drawn = [noise(preset, 1, torch.Generator().manual_seed(seed)) for seed in seeds]
    return {name: torch.cat([one[name] for one in drawn]).to(device) for name in LATENTS}


def check_latents(latents: Mapping[str, Tensor], preset: Sam3dPreset, batch: int) -> None:
    """Refuse, with a ValueError, anything but all five latents or the shape alone, in the preset's sizes.

    The shape stream never reads the pose, so the shape alone is a complete input; part of a pose is not.
    """
    unknown = [name for name in latents if name not in LATENTS]
    if unknown:
        raise ValueError(unknown_name("latent", unknown[0], LATENTS))
    missing = [name for name in LATENTS if name not in latents]
    if missing and set(latents) != {SHAPE}:
        raise ValueError(
            f"latents {', '.join(missing)} are missing: give all of {', '.join(LATENTS)}, or the shape alone"
        )
    sizes = latent_sizes(preset)
    for name, tensor in latents.items():
        if tuple(tensor.shape) != (batch, *sizes[name]):
            raise ValueError(f"expected latent {name!r} of shape {(batch, *sizes[name])}, got {tuple(tensor.shape)}")


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse, with a ValueError, weights that name no latent, miss one, are negative, or are all zero."""
    for name in weights:
        if name not in LATENTS:
            raise ValueError(unknown_name("latent", name, LATENTS))
    missing = [name for name in LATENTS if name not in weights]
    if missing or min(weights.values()) < 0 or not any(weights.values()):
        raise ValueError(f"loss weights must be >= 0, not all 0, for all of {', '.join(LATENTS)}; got {dict(weights)}")
