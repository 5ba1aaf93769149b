"""A SAM-3D-shaped model small enough for tests, with random weights everywhere, and inputs for it."""

import torch
from torch import nn

from eventsam.models.sam3d.condition import ConditionEmbedder
from eventsam.models.sam3d.fusing import Fusing
from eventsam.models.sam3d.generator import Generator
from eventsam.models.sam3d.inputs import ConditionInputs
from eventsam.models.sam3d.model import Sam3d, Sampling
from eventsam.models.sam3d.preprocess import Frames, Preprocess
from eventsam.models.sam3d.presets import Sam3dPreset
from eventsam.models.sam3d.vae import OccupancyVaeDecoder

MICRO = Sam3dPreset(
    encoder="micro", image_size=32, condition_width=32, hidden_multiple=16, pointmap_width=16, pointmap_size=16,
    pointmap_window=8, pointmap_num_heads=2, width=32, num_blocks=3, num_heads=2, grid=4,
    decoder_channels=(16, 8, 4), frequency_width=16,
)  # fmt: skip

QUICK = Sampling(num_steps=2, distilled=True)


def randomise(module: nn.Module, seed: int = 0, std: float = 0.1) -> nn.Module:
    """Give every parameter random values, so that nothing is zero by accident."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * std)
    return module


def made_frames(batch: int = 2, height: int = 40, width: int = 48, seed: int = 1, **changes) -> Frames:
    rng = torch.Generator().manual_seed(seed)
    mask = torch.zeros(batch, 1, height, width, dtype=torch.uint8)
    mask[:, :, 10:25, 12:30] = 1
    points = torch.rand(batch, 3, height, width, generator=rng) + 1
    points[:, :, :4] = torch.nan
    image, events = (torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=rng) for _ in "ab")
    return Frames(**{"image": image, "mask": mask, "pointmap": points, "event_image": events} | changes)


def made_inputs(batch: int = 2, seed: int = 1, **changes) -> ConditionInputs:
    return Preprocess(MICRO.image_size)(made_frames(batch, seed=seed, **changes))


def made_embedder(event_channels: int | None = 3) -> ConditionEmbedder:
    """An embedder of random weights whose event entry is not the image entry."""
    return randomise(ConditionEmbedder(MICRO, event_channels)).eval()  # type: ignore[return-value]


def made_model(fusing: Fusing | None = None, event_channels: int | None = 3) -> Sam3d:
    """A model of random weights around a fusion at its start."""
    generator = randomise(Generator(MICRO), 1)
    decoder = randomise(OccupancyVaeDecoder(MICRO), 2)
    torch.manual_seed(0)
    return Sam3d(made_embedder(event_channels), generator, decoder, fusing).eval()  # type: ignore[arg-type]
