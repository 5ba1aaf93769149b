"""Transformer pieces that fusions and decoders share: attention over a context, feed-forward, 3-D positions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """Multi-head attention of `queries` over `context` (itself, for self-attention) by scaled dot products.

    With `zero_output` the last projection starts at zero, so that a residual branch around it starts as the identity.
    """

    def __init__(self, width: int, num_heads: int, context_width: int | None = None, zero_output: bool = False) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width {width} is not divisible by num_heads {num_heads}")
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(context_width or width, 2 * width)
        self.to_out = nn.Linear(width, width)
        if zero_output:
            zero(self.to_out)

    def forward(self, queries: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend from (B, N, width) to (B, M, context_width); `bias` (heads, N, M) is added to the scores."""
        q = self._heads(self.to_q(queries))
        k, v = (self._heads(part) for part in self.to_kv(context).chunk(2, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype)[None])
        return self.to_out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        return tokens.view(batch, count, self.num_heads, width // self.num_heads).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, GELU, linear; with `zero_output` the second linear starts at zero."""

    def __init__(self, width: int, hidden: int, zero_output: bool = False) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        if zero_output:
            zero(self.fc2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, N, width) to (B, N, width)."""
        return self.fc2(F.gelu(self.fc1(tokens)))  # type: ignore[no-any-return]


def zero(linear: nn.Linear) -> None:
    """Set a linear layer's weight and bias to zero."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)


def root_mean_square(weight: Tensor) -> float:
    """Return the root mean square of a weight: how far a zero-initialised layer has moved."""
    return float(weight.detach().float().square().mean().sqrt())


def grid_positions(grid: int, width: int) -> Tensor:
    """Return fixed sine/cosine positions (grid^3, width) of a cubic grid's cell centres, z fastest.

    The width is shared by the three axes; wavelengths run from two cubes down to two cells, so that neighbours
    differ. Width left over by a split into 6 stays zero.
    """
    num_waves = width // 6
    if num_waves == 0:
        raise ValueError(f"a 3-D position needs a width of 6 or more, got {width}")
    centres = (torch.arange(grid) + 0.5) / grid - 0.5
    highest = max(grid / 2, 1.0)
    waves = math.pi * highest ** torch.linspace(0, 1, num_waves)
    angles = 2 * centres[:, None] * waves
    axis = torch.cat([angles.sin(), angles.cos()], dim=-1)
    cells = torch.cartesian_prod(*[torch.arange(grid)] * 3).reshape(-1, 3)
    positions = axis[cells].flatten(1)
    return F.pad(positions, (0, width - positions.shape[1]))
