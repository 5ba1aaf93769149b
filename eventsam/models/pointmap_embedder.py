"""Pointmaps as condition tokens: one transformer block inside each window of pixels, its CLS kept (SAM 3D)."""

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from eventsam.models.freeze import Freezable
from eventsam.models.lookup import grid_places
from eventsam.models.projection import Projection


class PointmapEmbedder(Freezable):
    """A pointmap to one token per window of `window` x `window` pixels (SAM 3D, arXiv 2511.16624, condition embedder).

    Released sizes: point_width 512, input_size 256, window 8, 16 heads, giving 1024 tokens. Pixels without three finite
    coordinates are replaced by one learned vector. Parameter names follow the released checkpoint; its projection
    net is `projection` here, and left out with a `width` of None: tokens then have `point_width`. Raises ValueError
    where the window does not divide the input size.
    """

    def __init__(
        self,
        point_width: int,
        width: int | None,
        input_size: int = 256,
        window: int = 8,
        num_heads: int = 16,
        hidden_multiple: int = 256,
    ) -> None:
        super().__init__()
        if input_size % window:
            raise ValueError(f"input_size {input_size} is not divisible by the window {window}")
        self.width, self.input_size, self.window = width or point_width, input_size, window
        grid = input_size // window
        self.num_tokens = grid**2
        self.places = grid_places(grid, grid)
        self.point_proj = nn.Linear(3, point_width)
        self.invalid_xyz_token = nn.Parameter(torch.zeros(point_width))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, point_width))
        self.pos_embed_window = nn.Parameter(torch.empty(1, 1 + window**2, point_width))
        self.pos_embed = nn.Parameter(torch.empty(1, point_width, grid, grid))
        self.blocks = nn.Sequential(Block(point_width, num_heads, mlp_ratio=2.0, qkv_bias=True))
        self.projection = nn.Identity() if width is None else Projection(point_width, width, hidden_multiple)
        nn.init.xavier_uniform_(self.point_proj.weight)
        nn.init.zeros_(self.point_proj.bias)
        for parameter in (self.invalid_xyz_token, self.cls_token, self.pos_embed_window, self.pos_embed):
            nn.init.normal_(parameter, std=0.02)

    def forward(self, pointmap: Tensor) -> Tensor:
        """Embed (B, 3, H, W), normalised points with NaN or infinity where invalid, to (B, windows, width)."""
        if pointmap.ndim != 4 or pointmap.shape[1] != 3:
            raise ValueError(f"expected pointmaps (B, 3, H, W), got {tuple(pointmap.shape)}")
        # Nearest, since a mean over an object's edge is a point on neither side.
        points = F.interpolate(pointmap, size=(self.input_size, self.input_size), mode="nearest")
        windows = self._windows(points)
        valid = windows.isfinite().all(dim=-1, keepdim=True)
        # Clean the points before the projection: NaN times zero is NaN, in the gradients too.
        embedded = self.point_proj(windows.where(valid, torch.zeros_like(windows)))
        tokens = torch.where(valid, embedded, self.invalid_xyz_token.to(embedded.dtype))
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.pos_embed_window
        summaries = self.blocks(tokens)[:, 0].unflatten(0, (len(pointmap), -1))
        return self.projection(summaries + self.pos_embed.flatten(2).transpose(1, 2))  # type: ignore[no-any-return]

    def _windows(self, points: Tensor) -> Tensor:
        """Cut (B, 3, S, S) into (B * windows, window^2, 3), windows and pixels in row-major order."""
        size = self.window
        tiles = points.unfold(2, size, size).unfold(3, size, size)
        return tiles.permute(0, 2, 3, 4, 5, 1).flatten(3, 4).flatten(0, 2)


def normalise_pointmap(pointmap: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Make a pointmap object-centred and free of scale; return (p - s) / c (B, 3, H, W), s (B, 3) and c (B,).

    s is the per-axis median of the valid points inside the mask (B, 1, H, W), c the median over all valid pixels of the
    largest coordinate of |p - s| (SAM 3D's object-centric scale-and-shift invariance). Medians of an even count are the
    lower one. Without a valid point in the mask s is 0; a scale that is 0 or undefined becomes 1. Invalid stays NaN.
    """
    valid = pointmap.isfinite().all(dim=1, keepdim=True)
    nan = torch.full_like(pointmap, torch.nan)
    points = pointmap.where(valid, nan)
    shift = points.where(mask > 0, nan).flatten(2).nanmedian(dim=2).values.nan_to_num(nan=0.0)
    centred = points - shift[:, :, None, None]
    scale = centred.abs().amax(dim=1).flatten(1).nanmedian(dim=1).values.nan_to_num(nan=1.0)
    scale = scale.where(scale > 0, torch.ones_like(scale))
    return centred / scale[:, None, None, None], shift, scale
