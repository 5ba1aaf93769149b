"""Object masks as condition tokens: a small embedder, and the full-size one that SAM 3D uses."""

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from eventsam.models.freeze import Freezable
from eventsam.models.lookup import grid_places
from eventsam.models.projection import Projection
from eventsam.models.vit import ImageEncoder


class MaskEmbedder(Freezable):
    """Patches of the mask, learned positions and a few transformer blocks; cheap enough for a CPU.

    Raises ValueError where the patch does not divide the image.
    """

    def __init__(
        self, width: int, image_size: int = 64, patch: int = 8, num_blocks: int = 1, num_heads: int = 4
    ) -> None:
        super().__init__()
        if image_size % patch:
            raise ValueError(f"image_size {image_size} is not divisible by the mask patch {patch}")
        self.width, self.image_size, self.num_tokens = width, image_size, (image_size // patch) ** 2
        self.places = grid_places(image_size // patch, image_size // patch)
        self.patch_embed = nn.Conv2d(1, width, kernel_size=patch, stride=patch)
        self.pos_embed = nn.Parameter(torch.empty(1, self.num_tokens, width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(*(Block(width, num_heads, mlp_ratio=2.0, qkv_bias=True) for _ in range(num_blocks)))
        self.norm = nn.LayerNorm(width)

    def forward(self, mask: Tensor) -> Tensor:
        """Embed (B, 1, H, W), 0 or 1 of any dtype, to (B, N, width); raise ValueError for another size."""
        _check_mask(mask, self.image_size)
        # Centred, so that background patches differ from "no input".
        tokens = self.patch_embed(mask.to(self.pos_embed.dtype) * 2 - 1).flatten(2).transpose(1, 2)
        return self.norm(self.blocks(tokens + self.pos_embed))  # type: ignore[no-any-return]


class MaskEncoder(Freezable):
    """A second image encoder that sees the mask as a grey image, and its projection (SAM 3D's condition embedder)."""

    def __init__(self, encoder: ImageEncoder, projection: Projection) -> None:
        super().__init__()
        self.encoder, self.projection = encoder, projection
        self.width, self.num_tokens = projection.width, encoder.grid[0] * encoder.grid[1] + 1
        self.places = grid_places(*encoder.grid, 1)

    def forward(self, mask: Tensor) -> Tensor:
        """Embed (B, 1, H, W), 0 or 1 of any dtype, to (B, 1 + patches, width)."""
        _check_mask(mask, self.encoder.image_size)
        image = mask.to(self.encoder.mean.dtype).expand(-1, 3, -1, -1)
        return self.projection(self.encoder(image).tokens)  # type: ignore[no-any-return]


def box_of(mask: Tensor) -> Tensor:
    """Return the filled bounding boxes of masks (B, 1, H, W), 0 or 1; an empty mask stays empty."""
    filled = mask > 0
    rows, columns = filled.any(dim=3, keepdim=True), filled.any(dim=2, keepdim=True)
    return (_span(rows, 2) & _span(columns, 3)).to(mask.dtype)


def _span(touched: Tensor, dim: int) -> Tensor:
    """Fill everything between the first and the last True along an axis."""
    seen = touched.int()
    forwards, backwards = seen.cumsum(dim), seen.flip(dim).cumsum(dim).flip(dim)
    return (forwards > 0) & (backwards > 0)


def _check_mask(mask: Tensor, image_size: int) -> None:
    if mask.ndim != 4 or tuple(mask.shape[1:]) != (1, image_size, image_size):
        raise ValueError(f"expected masks (B, 1, {image_size}, {image_size}), got {tuple(mask.shape)}")
