"""The sizes of the SAM-3D-shaped model by name: the released one, one for a modest GPU, one for two CPU cores."""

from collections.abc import Mapping
from dataclasses import dataclass

from eventsam.models.vit import check_preset as check_encoder
from eventsam.unknown_name import unknown_name


@dataclass(frozen=True)
class Sam3dPreset:
    """All sizes of embedder, generator and decoder.

    `encoder` is a name in `eventsam.models.vit.PRESETS`, used for images and, with weights of its own, for masks;
    images are `image_size` square. Every condition token has `condition_width` after its projection net, whose hidden
    width is rounded up to a multiple of `hidden_multiple`. Pointmaps are resized to `pointmap_size` square and cut into
    windows of `pointmap_window`. The generator denoises a cubic grid of `grid`^3 shape tokens of `latent_channels`; the
    decoder has one level per entry of `decoder_channels`, `decoder_layers` residual blocks each (and in its middle),
    and doubles the grid between levels.

    Raises ValueError for an unknown encoder and sizes that do not divide each other.
    """

    encoder: str
    image_size: int
    condition_width: int
    hidden_multiple: int
    pointmap_width: int
    pointmap_size: int
    pointmap_window: int
    pointmap_num_heads: int
    width: int
    num_blocks: int
    num_heads: int
    grid: int
    decoder_channels: tuple[int, ...]
    mlp_ratio: int = 4
    frequency_width: int = 256
    latent_channels: int = 8
    decoder_layers: int = 2

    def __post_init__(self) -> None:
        for what, size, divisor in (
            ("image_size", self.image_size, check_encoder(self.encoder).patch),
            ("pointmap_size", self.pointmap_size, self.pointmap_window),
            ("pointmap_width", self.pointmap_width, self.pointmap_num_heads),
            ("width", self.width, self.num_heads),
            ("frequency_width", self.frequency_width, 2),
        ):
            if size % divisor:
                raise ValueError(f"{what} {size} is not divisible by {divisor}")

    @property
    def resolution(self) -> int:
        """Occupancy cells per side."""
        return self.grid << (len(self.decoder_channels) - 1)

    @property
    def num_shape_tokens(self) -> int:
        """Tokens of the shape latent."""
        return int(self.grid**3)

    @property
    def num_image_tokens(self) -> int:
        """Tokens of one encoded image or mask: CLS and patches."""
        return 1 + (self.image_size // check_encoder(self.encoder).patch) ** 2

    @property
    def num_pointmap_tokens(self) -> int:
        """Tokens of one pointmap: its windows."""
        return (self.pointmap_size // self.pointmap_window) ** 2

    @property
    def num_condition_tokens(self) -> int:
        """Tokens of image, mask and pointmap, each of the crop and of the full frame; 7528 when released."""
        return 4 * self.num_image_tokens + 2 * self.num_pointmap_tokens


PRESETS: Mapping[str, Sam3dPreset] = {
    "sam3d": Sam3dPreset(
        encoder="vit_large_patch14_reg4_dinov2",
        image_size=518,
        condition_width=1024,
        hidden_multiple=256,
        pointmap_width=512,
        pointmap_size=256,
        pointmap_window=8,
        pointmap_num_heads=16,
        width=1024,
        num_blocks=24,
        num_heads=16,
        grid=16,
        decoder_channels=(512, 128, 32),
    ),
    "small": Sam3dPreset(
        encoder="small",
        image_size=96,
        condition_width=256,
        hidden_multiple=64,
        pointmap_width=128,
        pointmap_size=96,
        pointmap_window=8,
        pointmap_num_heads=8,
        width=256,
        num_blocks=8,
        num_heads=4,
        grid=8,
        decoder_channels=(128, 64, 16),
    ),
    "tiny": Sam3dPreset(
        encoder="tiny",
        image_size=64,
        condition_width=128,
        hidden_multiple=64,
        pointmap_width=64,
        pointmap_size=64,
        pointmap_window=8,
        pointmap_num_heads=4,
        width=128,
        num_blocks=4,
        num_heads=4,
        grid=8,
        decoder_channels=(48, 16, 8),
        decoder_layers=1,
    ),
}
"""Sizes by name. `sam3d` follows the released checkpoint; a converted checkpoint's own sizes win over it."""


def check_preset(name: str) -> Sam3dPreset:
    """Return a preset, or raise ValueError with the nearest name."""
    if name not in PRESETS:
        raise ValueError(unknown_name("sam3d preset", name, PRESETS))
    return PRESETS[name]
