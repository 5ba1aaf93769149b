"""Flamingo fusion: tanh-gated cross-attention to the events, then a tanh-gated feed-forward."""

import torch
from torch import Tensor, nn

from eventsam.models.attention import CrossAttention, FeedForward


class FlamingoFusion(nn.Module):
    """y + tanh(a_x) XAttn(LN y, LN x), then + tanh(a_d) FFW(LN .), with RGB y and events x.

    Source: Flamingo, arXiv 2204.14198, section 2.2. Both scalars start at zero: the identity to the last bit. At first
    only they get a gradient; once they have moved, all the rest does.
    """

    def __init__(self, width: int, num_heads: int = 8, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.norm_rgb, self.norm_events, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.cross = CrossAttention(width, num_heads)
        self.mlp = FeedForward(width, mlp_ratio * width)
        self.cross_gate = nn.Parameter(torch.zeros(()))
        self.mlp_gate = nn.Parameter(torch.zeros(()))

    def forward(self, rgb_tokens: Tensor, event_tokens: Tensor) -> Tensor:
        """Fuse (B, N, D) with (B, M, D) to (B, N, D)."""
        seen = self.cross(self.norm_rgb(rgb_tokens), self.norm_events(event_tokens))
        fused = rgb_tokens + torch.tanh(self.cross_gate) * seen
        return fused + torch.tanh(self.mlp_gate) * self.mlp(self.norm_mlp(fused))  # type: ignore[no-any-return]

    def gates(self) -> dict[str, float]:
        """Return the two gates after tanh."""
        return {"cross": float(torch.tanh(self.cross_gate.detach())), "mlp": float(torch.tanh(self.mlp_gate.detach()))}
