"""Shape decoders: condition tokens to occupancy logits. Here: queries on coarse grids, then 3-D upsampling."""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventsam.models.attention import CrossAttention, FeedForward, grid_positions
from eventsam.models.freeze import Freezable
from eventsam.models.lookup import ProjectedLookup, cell_centres


class ShapeDecoder(Freezable, ABC):
    """What turns condition tokens into a shape: the seam between the condition embedders and any generator.

    `resolution` is R, cells per side of the cube [-0.5, 0.5]^3. A cell is filled where its logit is above 0.
    """

    resolution: int

    @abstractmethod
    def forward(self, condition: Tensor, places: Tensor | None = None) -> Tensor:
        """Decode condition tokens (B, N, D) to logits (B, R, R, R) with axes x, y, z.

        `places` (N, 2) say where the tokens lie in the image: (row, column) in [-0.5, 0.5], NaN for those without.
        """


class GridLayer(nn.Module):
    """Pre-norm layer of grid queries: attend to the condition, to each other (optional), then feed-forward."""

    def __init__(self, width: int, condition_width: int, num_heads: int, self_attention: bool) -> None:
        super().__init__()
        self.lookup = ProjectedLookup(num_heads)
        self.norm_cross = nn.LayerNorm(width)
        self.cross = CrossAttention(width, num_heads, condition_width)
        self.norm_self = nn.LayerNorm(width) if self_attention else None
        self.self_attention = CrossAttention(width, num_heads) if self_attention else None
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = FeedForward(width, 2 * width)

    def forward(self, queries: Tensor, condition: Tensor, cells: Tensor, places: Tensor | None) -> Tensor:
        """Update queries (B, Q, width) at `cells` (Q, 3) from the normalised condition (B, N, condition_width)."""
        bias = None if places is None else self.lookup(cells, places)
        queries = queries + self.cross(self.norm_cross(queries), condition, bias)
        if self.norm_self is not None and self.self_attention is not None:
            normed = self.norm_self(queries)
            queries = queries + self.self_attention(normed, normed)
        return queries + self.mlp(self.norm_mlp(queries))  # type: ignore[no-any-return]


class OccupancyDecoder(ShapeDecoder):
    """Coarse queries reason about the whole object, finer ones look at the condition again, a convolution joins them.

    coarse_grid^3 learned queries with 3-D sine/cosine positions pass `num_coarse_layers` with self-attention; a linear
    layer unfolds each into (fine_grid / coarse_grid)^3 cells of `fine_width`, which pass `num_fine_layers` of
    cross-attention and one residual 3x3x3 convolution; a second unfolding gives the logits. Unfolding by linear layers
    (3-D pixel shuffle) keeps the work off the fine grid, where convolutions cost a CPU most. The last bias starts at
    the log-odds of `positive_rate`, so that training does not begin by emptying the cube.

    Raises ValueError where the grids do not divide each other or the rate is not inside (0, 1).
    """

    def __init__(
        self,
        condition_width: int,
        resolution: int = 32,
        coarse_grid: int = 4,
        fine_grid: int = 8,
        coarse_width: int = 128,
        fine_width: int = 64,
        num_coarse_layers: int = 2,
        num_fine_layers: int = 1,
        num_heads: int = 4,
        positive_rate: float = 0.1,
    ) -> None:
        super().__init__()
        if fine_grid % coarse_grid or resolution % fine_grid:
            raise ValueError(f"grids must divide each other: coarse {coarse_grid}, fine {fine_grid}, R {resolution}")
        if not 0 < positive_rate < 1:
            raise ValueError(f"positive_rate must be inside (0, 1), got {positive_rate}")
        self.resolution, self.coarse_grid, self.fine_grid = resolution, coarse_grid, fine_grid
        self.norm_condition = nn.LayerNorm(condition_width)
        self.queries = nn.Parameter(torch.empty(1, coarse_grid**3, coarse_width))
        nn.init.trunc_normal_(self.queries, std=0.02)
        self.register_buffer("coarse_positions", grid_positions(coarse_grid, coarse_width), persistent=False)
        self.register_buffer("fine_positions", grid_positions(fine_grid, fine_width), persistent=False)
        self.register_buffer("coarse_cells", cell_centres(coarse_grid), persistent=False)
        self.register_buffer("fine_cells", cell_centres(fine_grid), persistent=False)
        self.coarse = nn.ModuleList(
            GridLayer(coarse_width, condition_width, num_heads, self_attention=True) for _ in range(num_coarse_layers)
        )
        self.unfold = nn.Linear(coarse_width, (fine_grid // coarse_grid) ** 3 * fine_width)
        self.fine = nn.ModuleList(
            GridLayer(fine_width, condition_width, max(num_heads // 2, 1), self_attention=False)
            for _ in range(num_fine_layers)
        )
        # A full 3-D convolution would cost more than the rest of the decoder.
        narrow = max(fine_width // 4, 1)
        self.narrow = nn.Linear(fine_width, narrow)
        self.smooth = nn.Conv3d(narrow, narrow, kernel_size=3, padding=1)
        self.widen = nn.Linear(narrow, fine_width)
        self.norm = nn.LayerNorm(fine_width)
        self.to_logits = nn.Linear(fine_width, (resolution // fine_grid) ** 3)
        nn.init.trunc_normal_(self.to_logits.weight, std=0.02)
        nn.init.constant_(self.to_logits.bias, math.log(positive_rate / (1 - positive_rate)))

    coarse_positions: Tensor
    fine_positions: Tensor
    coarse_cells: Tensor
    fine_cells: Tensor

    def forward(self, condition: Tensor, places: Tensor | None = None) -> Tensor:
        """Decode condition tokens (B, N, D), lying at `places` (N, 2), to logits (B, R, R, R)."""
        condition = self.norm_condition(condition)
        cells = (self.queries + self.coarse_positions).expand(len(condition), -1, -1)
        for layer in self.coarse:
            cells = layer(cells, condition, self.coarse_cells, places)
        cells = unfold_cells(self.unfold(cells), self.coarse_grid, self.fine_grid // self.coarse_grid).flatten(1, 3)
        cells = cells + self.fine_positions
        for layer in self.fine:
            cells = layer(cells, condition, self.fine_cells, places)
        cells = cells + self._neighbours(cells)
        logits = self.to_logits(self.norm(cells))
        return unfold_cells(logits, self.fine_grid, self.resolution // self.fine_grid).squeeze(-1)

    def _neighbours(self, cells: Tensor) -> Tensor:
        """Convolve (B, G^3, C) over the fine grid, in few channels."""
        narrow = self.narrow(cells).transpose(1, 2).unflatten(2, (self.fine_grid,) * 3)
        return self.widen(F.gelu(self.smooth(narrow)).flatten(2).transpose(1, 2))  # type: ignore[no-any-return]


def unfold_cells(cells: Tensor, grid: int, factor: int) -> Tensor:
    """Split each of (B, grid^3, factor^3 * C) cells into factor^3: (B, grid * factor three times, C), axes x, y, z."""
    split = cells.reshape(len(cells), grid, grid, grid, factor, factor, factor, -1)
    return split.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)
