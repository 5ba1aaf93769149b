"""The image encoder: a DINOv2-with-registers vision transformer whose blocks can be tapped and injected into."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from safetensors.torch import load_file, save_file
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from eventsam.models.checkpointing import checkpointed
from eventsam.models.freeze import Freezable
from eventsam.models.vit_weights import fit_state
from eventsam.unknown_name import unknown_name

logger = logging.getLogger(__name__)

Inject = Callable[[int, Tensor], Tensor]
"""Called after block i with all its tokens (B, N, D); returns what replaces them."""


@dataclass(frozen=True)
class EncoderPreset:
    """Sizes of an encoder. All share DINOv2's structure: CLS, 4 registers, LayerScale, no position on CLS or registers.

    `layer_scale` is the initial LayerScale: 1e-5 as in DINOv2 where weights are loaded anyway; larger for the presets
    that are trained from scratch here, which would otherwise spend a short run on leaving the identity.
    """

    patch: int
    width: int
    num_blocks: int
    num_heads: int
    image_size: int
    layer_scale: float = 1e-5
    num_registers: int = 4


PRESETS: Mapping[str, EncoderPreset] = {
    "micro": EncoderPreset(patch=8, width=32, num_blocks=3, num_heads=2, image_size=32, layer_scale=1.0),
    "tiny": EncoderPreset(patch=8, width=128, num_blocks=4, num_heads=4, image_size=64, layer_scale=1.0),
    "small": EncoderPreset(patch=8, width=256, num_blocks=8, num_heads=8, image_size=96, layer_scale=1.0),
    "vit_small_patch14_reg4_dinov2": EncoderPreset(patch=14, width=384, num_blocks=12, num_heads=6, image_size=518),
    "vit_base_patch14_reg4_dinov2": EncoderPreset(patch=14, width=768, num_blocks=12, num_heads=12, image_size=518),
    "vit_large_patch14_reg4_dinov2": EncoderPreset(patch=14, width=1024, num_blocks=24, num_heads=16, image_size=518),
}
"""Encoders by name: "micro" for tests, "tiny" for two CPU cores, "small" for one modest GPU, timm's names for real."""


class Encoded(NamedTuple):
    """`tokens` (B, 1 + patches, D): CLS, patches, after the final norm. `taps[i]` (B, N, D): all tokens of block i."""

    tokens: Tensor
    taps: dict[int, Tensor]


class ImageEncoder(Freezable):
    """A vision transformer of a named size (DINOv2, arXiv 2304.07193; registers, arXiv 2309.16588).

    Tokens inside the blocks are [CLS; registers; patches in row-major order]. `is_initialised_from` says which weights
    were loaded, or is None where the encoder is at its random start: a task that needs a trained encoder refuses then.
    With `checkpointing` set, a block's activations are computed again in the backward pass and not kept.

    Raises ValueError for an unknown preset, an image size that the patch does not divide, and weights that do not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, preset: str = "tiny", image_size: int = 64, in_channels: int = 3, weights: str | Path | None = None
    ) -> None:
        super().__init__()
        sizes = check_preset(preset)
        if image_size < sizes.patch or image_size % sizes.patch:
            below = max(image_size // sizes.patch, 1) * sizes.patch
            raise ValueError(
                f"image_size {image_size} is not divisible by the patch of {preset!r}, {sizes.patch}; "
                f"nearest: {below} or {below + sizes.patch}"
            )
        if in_channels < 1:
            raise ValueError(f"in_channels must be at least 1, got {in_channels}")
        self.preset, self.image_size, self.in_channels = preset, image_size, in_channels
        self.width, self.num_blocks, self.patch = sizes.width, sizes.num_blocks, sizes.patch
        self.num_heads, self.num_prefix_tokens = sizes.num_heads, 1 + sizes.num_registers
        self.grid = (image_size // sizes.patch, image_size // sizes.patch)
        self.is_initialised_from: str | None = None
        self.checkpointing = False
        self._add_network(sizes)
        self.register_buffer("mean", torch.tensor(IMAGENET_DEFAULT_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_DEFAULT_STD).view(3, 1, 1), persistent=False)
        if weights is not None:
            self.load_weights(weights)

    def _add_network(self, sizes: EncoderPreset) -> None:
        self.vit: nn.Module = build_transformer(sizes, self.image_size, self.in_channels)

    @property
    def blocks(self) -> nn.Sequential:
        """The transformer blocks."""
        return self.vit.blocks  # type: ignore[return-value]

    @property
    def patch_embed(self) -> nn.Module:
        """The patch embedding."""
        return self.vit.patch_embed  # type: ignore[return-value]

    def forward(self, image: Tensor, *, inject: Inject | None = None, taps: Collection[int] = ()) -> Encoded:
        """Encode (B, C, H, W), uint8 or float in [0, 1]; raise ValueError for another size or an unknown tap."""
        unknown = [i for i in taps if not 0 <= i < self.num_blocks]
        if unknown:
            raise ValueError(f"taps {unknown} out of range: {self.preset!r} has blocks 0..{self.num_blocks - 1}")
        tokens = self.embed(image)
        tapped: dict[int, Tensor] = {}
        for i, block in enumerate(self.blocks):
            tokens = checkpointed(block, tokens) if self.checkpointing else block(tokens)
            if inject is not None:
                tokens = inject(i, tokens)
            if i in taps:
                tapped[i] = tokens
        # The norm acts on each token alone, so the registers can go first.
        kept = torch.cat([tokens[:, :1], tokens[:, self.num_prefix_tokens :]], dim=1)
        return Encoded(self.vit.norm(kept), tapped)  # type: ignore[operator]

    def embed(self, image: Tensor) -> Tensor:
        """Normalise (B, C, H, W) on its device and return the first block's input (B, N, D)."""
        expected = (self.in_channels, self.image_size, self.image_size)
        if image.ndim != 4 or tuple(image.shape[1:]) != expected:
            raise ValueError(f"expected images (B, {', '.join(map(str, expected))}), got {tuple(image.shape)}")
        vit = self.vit
        return vit._pos_embed(vit.patch_embed(self.normalise(image)))  # type: ignore[operator, no-any-return]

    def normalise(self, image: Tensor) -> Tensor:
        """Scale uint8 to [0, 1]; with 3 channels, subtract ImageNet's mean and divide by its deviation."""
        scaled = image.to(self.mean.dtype)
        if not image.is_floating_point():
            scaled = scaled / 255
        return (scaled - self.mean) / self.std if self.in_channels == 3 else scaled

    def query_key(self, index: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return block `index`'s queries and keys (B, heads, N, D / heads) for its input tokens (B, N, D).

        The input of block i is the tap of block i - 1. Used for pivotal-token weights (objectives/features.py).
        """
        block = self.blocks[index]
        qkv = block.attn.qkv(block.norm1(tokens))  # type: ignore[union-attr, operator]
        q, k, _ = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k

    def load_weights(self, path: str | Path, prefix: str = "") -> None:
        """Read a safetensors file with timm's or DINOv2's own names; see `load_state`.

        `prefix` picks one encoder out of a larger file, as "module_list.0.backbone." in the SAM 3D embedder.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no weights at {path}; download_weights({self.preset!r}, folder) fetches real ones"
            )
        state = {name.removeprefix(prefix): t for name, t in load_file(path).items() if name.startswith(prefix)}
        self.load_state(state, source=f"{path} ({prefix}*)" if prefix else str(path))

    def load_state(self, state: Mapping[str, Tensor], source: str) -> None:
        """Take over an encoder's weights; raise ValueError naming missing, unexpected and misshapen ones.

        Positions are resampled to this encoder's grid and the patch embedding to its channels (`vit_weights`).
        """
        fitted = fit_state(state, self.vit.state_dict(), self.grid, source, PRESETS)
        self.vit.load_state_dict(fitted)
        self.is_initialised_from = source
        logger.info("encoder %s initialised from %s", self.preset, source)

    def copy_weights(self, other: "ImageEncoder") -> None:
        """Start from another encoder of the same size, as a student from its teacher."""
        self.load_state(other.vit.state_dict(), source=other.is_initialised_from or f"untrained {other.preset}")
        self.is_initialised_from = other.is_initialised_from


def check_preset(name: str) -> EncoderPreset:
    """Return a preset, or raise ValueError with the nearest name."""
    if name not in PRESETS:
        raise ValueError(unknown_name("encoder preset", name, PRESETS))
    return PRESETS[name]


def download_weights(preset: str, folder: str | Path) -> Path:
    """Fetch a timm preset's DINOv2 weights into folder/<preset>.safetensors; the one function that goes online.

    Raises ValueError for a preset without public weights.
    """
    check_preset(preset)
    if not timm.is_model_pretrained(preset):
        public = [name for name in PRESETS if timm.is_model_pretrained(name)]
        raise ValueError(f"there are no public weights for {preset!r} (there are for: {', '.join(public)})")
    path = Path(folder) / f"{preset}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    model = timm.create_model(preset, pretrained=True, num_classes=0)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def build_transformer(sizes: EncoderPreset, image_size: int, in_channels: int) -> nn.Module:
    """Build timm's vision transformer of these sizes, without a head."""
    vit: nn.Module = VisionTransformer(
        img_size=image_size,
        patch_size=sizes.patch,
        in_chans=in_channels,
        num_classes=0,
        global_pool="",
        embed_dim=sizes.width,
        depth=sizes.num_blocks,
        num_heads=sizes.num_heads,
        init_values=sizes.layer_scale,
        reg_tokens=sizes.num_registers,
        no_embed_class=True,
    )
    return vit
