"""The occupancy autoencoder: a grid of filled cells to a small grid of latents, and latents to occupancy logits.

Sizes and the names of parameters follow SAM 3D Objects' sparse-structure decoder (arXiv 2511.16624), so that its
converted weights load as they are; the encoder is the decoder's mirror.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventsam.models.freeze import Freezable
from eventsam.models.sam3d.latent_scale import LatentScale
from eventsam.models.sam3d.presets import Sam3dPreset, check_preset

FIRST_LOG_VARIANCE = -4.0


class Posterior(NamedTuple):
    """A normal distribution per cell and channel: `mean` and `log_variance`, both (B, C, G, G, G)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """Draw latents (B, C, G, G, G), differentiable in both parameters."""
        return self.mean + (0.5 * self.log_variance).exp() * torch.randn_like(self.mean)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell of (B, C, X, Y, Z)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, X, Y, Z)."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """Norm, SiLU, 3x3x3 convolution, twice, around a skip; the second convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = ChannelLayerNorm(channels)
        self.conv1 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.norm2 = ChannelLayerNorm(channels)
        self.conv2 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, cells: Tensor) -> Tensor:
        """Map (B, C, X, Y, Z) to the same shape."""
        hidden = self.conv1(F.silu(self.norm1(cells)))
        return cells + self.conv2(F.silu(self.norm2(hidden)))  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Double a grid: a convolution to 8 times the channels, which a 3-D pixel shuffle unfolds into 2x2x2 cells."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, 8 * out_channels, kernel_size=3, padding=1)

    def forward(self, cells: Tensor) -> Tensor:
        """Map (B, C, X, Y, Z) to (B, out_channels, 2 X, 2 Y, 2 Z)."""
        return pixel_shuffle_3d(self.conv(cells))


class Downsample(nn.Module):
    """Halve a grid with a 2x2x2 convolution of stride 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size=2, stride=2)

    def forward(self, cells: Tensor) -> Tensor:
        """Map (B, C, X, Y, Z) to (B, out_channels, X / 2, Y / 2, Z / 2)."""
        return self.conv(cells)  # type: ignore[no-any-return]


class OccupancyVaeDecoder(Freezable):
    """Shape latents to occupancy logits; a cell is filled where its logit is above 0."""

    def __init__(self, preset: Sam3dPreset) -> None:
        super().__init__()
        first, *_, last = channels = preset.decoder_channels
        self.grid, self.resolution, self.latent_channels = preset.grid, preset.resolution, preset.latent_channels
        self.input_layer = nn.Conv3d(preset.latent_channels, first, kernel_size=3, padding=1)
        self.middle_block = nn.Sequential(*(ResidualBlock(first) for _ in range(preset.decoder_layers)))
        self.blocks = _levels(channels, preset.decoder_layers, Upsample)
        self.out_layer = nn.Sequential(ChannelLayerNorm(last), nn.SiLU(), nn.Conv3d(last, 1, kernel_size=3, padding=1))

    def forward(self, latents: Tensor) -> Tensor:
        """Decode tokens (B, G^3, C), z fastest, or a grid (B, C, G, G, G) to logits (B, 1, R, R, R), axes x, y, z.

        Raises ValueError for another shape.
        """
        cells = to_grid(latents, self.grid) if latents.ndim == 3 else latents
        expected = (self.latent_channels, self.grid, self.grid, self.grid)
        if tuple(cells.shape[1:]) != expected:
            tokens = (self.grid**3, self.latent_channels)
            raise ValueError(f"expected latents (B, *{tokens}) or (B, *{expected}), got {tuple(latents.shape)}")
        return self.out_layer(self.blocks(self.middle_block(self.input_layer(cells))))  # type: ignore[no-any-return]


class OccupancyVaeEncoder(Freezable):
    """Filled cells to the distribution of their latents: the decoder mirrored."""

    def __init__(self, preset: Sam3dPreset) -> None:
        super().__init__()
        first, *_, last = channels = tuple(reversed(preset.decoder_channels))
        self.resolution, out = preset.resolution, 2 * preset.latent_channels
        self.input_layer = nn.Conv3d(1, first, kernel_size=3, padding=1)
        self.blocks = _levels(channels, preset.decoder_layers, Downsample)
        self.middle_block = nn.Sequential(*(ResidualBlock(last) for _ in range(preset.decoder_layers)))
        self.out_layer = nn.Sequential(
            ChannelLayerNorm(last), nn.SiLU(), nn.Conv3d(last, out, kernel_size=3, padding=1)
        )
        # From noise as large as the latents themselves, training often ends in a decoder that ignores them.
        nn.init.constant_(self.out_layer[-1].bias[preset.latent_channels :], FIRST_LOG_VARIANCE)  # type: ignore[index]

    def forward(self, occupancy: Tensor) -> Posterior:
        """Encode bool or soft occupancy (B, R, R, R) or (B, 1, R, R, R); raise ValueError for another shape."""
        cells = occupancy[:, None] if occupancy.ndim == 4 else occupancy
        expected = (1, self.resolution, self.resolution, self.resolution)
        if tuple(cells.shape[1:]) != expected:
            raise ValueError(f"expected occupancy (B, *{expected[1:]}), got {tuple(occupancy.shape)}")
        cells = self.input_layer(cells.to(self.input_layer.weight.dtype))
        mean, log_variance = self.out_layer(self.middle_block(self.blocks(cells))).chunk(2, dim=1)
        return Posterior(mean, log_variance)


class OccupancyVae(nn.Module):
    """Encoder and decoder of a preset, by name or sizes, and the scale between them: latents near mean 0, deviation 1.

    Flow matching starts at standard normal noise and weighs all latents alike, so the space it works in must be of
    that size; a small KL term alone does not see to it.
    """

    def __init__(self, preset: str | Sam3dPreset = "tiny") -> None:
        super().__init__()
        sizes = check_preset(preset) if isinstance(preset, str) else preset
        self.encoder, self.decoder = OccupancyVaeEncoder(sizes), OccupancyVaeDecoder(sizes)
        self.latent_scale = LatentScale(sizes.latent_channels)

    def encode(self, occupancy: Tensor) -> Posterior:
        """Return the distribution of the normalised latents of occupancy (B, R, R, R)."""
        mean, log_variance = self.encoder(occupancy)
        # The variance is predicted for normalised latents already, and so never depends on the scale.
        return Posterior(self.latent_scale(mean), log_variance)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the logits (B, 1, R, R, R) of normalised latents, tokens or grid."""
        return self.decoder(latents)  # type: ignore[no-any-return]

    @torch.no_grad()
    def states(self) -> dict[str, dict[str, Tensor]]:
        """Return the states of "encoder" and "decoder", ready to be used without the scale between them.

        The scale goes into the encoder's last convolution, where it belongs exactly; the decoder only ever saw
        normalised latents.
        """
        encoder = {name: tensor.detach().clone() for name, tensor in self.encoder.state_dict().items()}
        last = f"out_layer.{len(self.encoder.out_layer) - 1}"
        mean, std = self.latent_scale.mean, self.latent_scale.std
        shift, factor = torch.cat([mean, torch.zeros_like(mean)]), torch.cat([std, torch.ones_like(std)])
        encoder[f"{last}.weight"] /= factor[:, None, None, None, None]
        encoder[f"{last}.bias"] = (encoder[f"{last}.bias"] - shift) / factor
        return {"encoder": encoder, "decoder": dict(self.decoder.state_dict())}


def to_tokens(cells: Tensor) -> Tensor:
    """Turn a grid (B, C, G, G, G), axes x, y, z, into tokens (B, G^3, C) with z fastest."""
    return cells.flatten(2).mT


def to_grid(tokens: Tensor, grid: int) -> Tensor:
    """Turn tokens (B, G^3, C), z fastest, into a grid (B, C, G, G, G); raise ValueError for another number."""
    if tokens.shape[1] != grid**3:
        raise ValueError(f"expected {grid}^3 = {grid**3} shape tokens, got {tokens.shape[1]}")
    return tokens.mT.reshape(len(tokens), -1, grid, grid, grid)


def pixel_shuffle_3d(cells: Tensor) -> Tensor:
    """Unfold (B, 8 C, X, Y, Z) to (B, C, 2 X, 2 Y, 2 Z): channel 8 c + 4 i + 2 j + k goes to cell (i, j, k)."""
    split = cells.reshape(len(cells), -1, 2, 2, 2, *cells.shape[2:])
    return split.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _levels(channels: tuple[int, ...], layers: int, resize: type[Upsample] | type[Downsample]) -> nn.Sequential:
    """Return the residual blocks of all levels with the resizing blocks between them, numbered through."""
    blocks: list[nn.Module] = []
    for here, following in zip(channels, (*channels[1:], None), strict=True):
        blocks += [ResidualBlock(here) for _ in range(layers)]
        blocks += [resize(here, following)] if following else []
    return nn.Sequential(*blocks)
