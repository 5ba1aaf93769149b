"""From one RGB image with an object mask (and a pointmap) to the object's occupancy; how each size of it is built."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from eventsam.models.freeze import Freezable
from eventsam.models.lookup import grid_places
from eventsam.models.mask_embedder import MaskEmbedder, MaskEncoder, box_of
from eventsam.models.occupancy import OccupancyDecoder, ShapeDecoder
from eventsam.models.pointmap_embedder import PointmapEmbedder, normalise_pointmap
from eventsam.models.projection import Projection
from eventsam.models.vit import ImageEncoder, Inject

MaskPrompt = Literal["mask", "box"]
FuseTokens = Callable[[Tensor], Tensor]
"""Applied once to the projected RGB tokens (B, N, D)."""

GROUPS = ("rgb", "mask", "pointmap")
"""The token groups in the order of the condition."""


class Reconstructor(Freezable):
    """Image encoder, mask and pointmap embedders and a shape decoder around one condition (SAM 3D, arXiv 2511.16624).

    `mask_prompt="box"` shows only the mask's bounding box: a precise mask of a blurry frame does not exist, and one of
    the sharp frame would give the outline away. The condition is [rgb; mask; pointmap] tokens, each with its group's
    learned embedding. In train mode a sample loses its mask or pointmap tokens (set to zero, their number kept) with
    probability `mask_dropout`, `pointmap_dropout`.

    Raises ValueError where the parts' widths disagree.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        projection: Projection,
        mask_embedder: MaskEmbedder | MaskEncoder,
        pointmap_embedder: PointmapEmbedder | None,
        decoder: ShapeDecoder,
        mask_dropout: float = 0.0,
        pointmap_dropout: float = 0.1,
        mask_prompt: MaskPrompt = "mask",
    ) -> None:
        super().__init__()
        widths = {"projection": projection.width, "mask_embedder": mask_embedder.width}
        if pointmap_embedder is not None:
            widths["pointmap_embedder"] = pointmap_embedder.width
        if len(set(widths.values())) > 1 or projection.in_width != encoder.width:
            raise ValueError(f"widths disagree: encoder {encoder.width}, projection in {projection.in_width}, {widths}")
        self.encoder, self.projection = encoder, projection
        self.mask_embedder, self.pointmap_embedder, self.decoder = mask_embedder, pointmap_embedder, decoder
        self.mask_dropout, self.pointmap_dropout = mask_dropout, pointmap_dropout
        self.mask_prompt = mask_prompt
        self.width, self.resolution = projection.width, decoder.resolution
        self.group_embedding = nn.Parameter(torch.empty(len(GROUPS), projection.width))
        nn.init.normal_(self.group_embedding, std=0.02)
        parts = [grid_places(*encoder.grid, 1), mask_embedder.places]
        parts += [pointmap_embedder.places] if pointmap_embedder is not None else []
        self.register_buffer("places", torch.cat(parts), persistent=False)

    places: Tensor

    def forward(
        self,
        rgb: Tensor,
        mask: Tensor,
        pointmap: Tensor | None = None,
        *,
        inject: Inject | None = None,
        fuse_tokens: FuseTokens | None = None,
    ) -> Tensor:
        """Return occupancy logits (B, R, R, R); arguments as for `condition`."""
        tokens = self.condition(rgb, mask, pointmap, inject=inject, fuse_tokens=fuse_tokens)
        return self.decoder(tokens, self.places)  # type: ignore[no-any-return]

    def decode(self, image_tokens: Tensor, mask: Tensor, pointmap: Tensor | None = None) -> Tensor:
        """Return occupancy logits (B, R, R, R) from projected image tokens (B, N, D), whatever encoder made them."""
        return self.decoder(self._groups(image_tokens, mask, pointmap), self.places)  # type: ignore[no-any-return]

    def condition(
        self,
        rgb: Tensor,
        mask: Tensor,
        pointmap: Tensor | None = None,
        *,
        inject: Inject | None = None,
        fuse_tokens: FuseTokens | None = None,
    ) -> Tensor:
        """Return the condition tokens (B, N, D).

        rgb (B, 3, H, W) uint8 or float in [0, 1], mask (B, 1, H, W) 0 or 1, pointmap (B, 3, H, W) in the camera frame,
        NaN where invalid. `inject` acts inside the RGB encoder, `fuse_tokens` on its projected tokens. A missing
        pointmap leaves zeros in its place; one that no embedder reads raises ValueError.
        """
        tokens = self.projection(self.encoder(rgb, inject=inject).tokens)
        return self._groups(tokens if fuse_tokens is None else fuse_tokens(tokens), mask, pointmap)

    def _groups(self, tokens: Tensor, mask: Tensor, pointmap: Tensor | None) -> Tensor:
        shown = box_of(mask) if self.mask_prompt == "box" else mask
        groups = [
            tokens + self.group_embedding[0],
            self._dropped(self.mask_embedder(shown) + self.group_embedding[1], self.mask_dropout),
        ]
        if self.pointmap_embedder is not None:
            groups.append(self._pointmap_tokens(self.pointmap_embedder, pointmap, mask, tokens))
        elif pointmap is not None:
            raise ValueError("a pointmap was given, but this reconstructor has no pointmap embedder")
        return torch.cat(groups, dim=1)

    def _pointmap_tokens(
        self, embedder: PointmapEmbedder, pointmap: Tensor | None, mask: Tensor, like: Tensor
    ) -> Tensor:
        if pointmap is None:
            return like.new_zeros(len(like), embedder.num_tokens, self.width)
        normalised, _, _ = normalise_pointmap(pointmap, mask)
        return self._dropped(embedder(normalised) + self.group_embedding[2], self.pointmap_dropout)

    def _dropped(self, tokens: Tensor, probability: float) -> Tensor:
        if not self.training or probability == 0:
            return tokens
        kept = torch.rand(len(tokens), 1, 1, device=tokens.device) >= probability
        return tokens * kept.to(tokens.dtype)


def build_reconstructor(
    preset: str = "tiny",
    image_size: int = 64,
    resolution: int = 32,
    pointmap: bool = False,
    weights: str | Path | None = None,
    positive_rate: float = 0.1,
    mask_dropout: float = 0.0,
    pointmap_dropout: float = 0.1,
    mask_prompt: MaskPrompt = "mask",
) -> Reconstructor:
    """Build a whole reconstructor around an encoder preset; `weights` initialise the image encoders.

    With DINOv2 presets the parts have SAM 3D's sizes (a second encoder for masks, pointmap tokens of width 512); with
    the small presets they are cut to match.
    """
    encoder = ImageEncoder(preset, image_size, weights=weights)
    large = encoder.patch == 14
    multiple = 256 if large else 64
    width, num_heads = encoder.width, encoder.num_heads
    projection = Projection(width, width, multiple)
    mask_embedder: MaskEmbedder | MaskEncoder
    if large:
        mask_encoder = ImageEncoder(preset, image_size, weights=weights)
        mask_embedder = MaskEncoder(mask_encoder, Projection(width, width, multiple))
    else:
        mask_embedder = MaskEmbedder(width, image_size, encoder.patch, num_heads=num_heads)
    pointmap_embedder = None
    if pointmap and large:
        pointmap_embedder = PointmapEmbedder(width // 2, width, input_size=256, num_heads=num_heads)
    elif pointmap:
        pointmap_embedder = PointmapEmbedder(
            width // 2, width, image_size, encoder.patch, num_heads, hidden_multiple=multiple
        )
    decoder = _build_decoder(encoder, resolution, positive_rate)
    dropouts = (mask_dropout, pointmap_dropout)
    return Reconstructor(encoder, projection, mask_embedder, pointmap_embedder, decoder, *dropouts, mask_prompt)


def _build_decoder(encoder: ImageEncoder, resolution: int, positive_rate: float) -> OccupancyDecoder:
    """Fit the decoder to the encoder: its cost stays at or below the encoder's."""
    fine_grid = max(resolution // 4, 1)
    return OccupancyDecoder(
        encoder.width,
        resolution,
        coarse_grid=max(fine_grid // 2, 1),
        fine_grid=fine_grid,
        coarse_width=encoder.width,
        fine_width=max(encoder.width // 4, 16),
        num_heads=encoder.num_heads,
        positive_rate=positive_rate,
    )
