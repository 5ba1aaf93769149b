"""Self-attention fusion: RGB tokens attend to RGB and event tokens together."""

import torch
from torch import Tensor, nn

from eventsam.models.attention import CrossAttention, FeedForward, root_mean_square


class AttnFusion(nn.Module):
    """Two pre-norm self-attention layers over [events; rgb], of which the RGB tokens are kept.

    The last linear of every residual branch starts at zero, so the start is the identity to the last bit (a post-norm
    layer with random weights would hand a frozen encoder tokens it has never seen). A learned vector marks event
    tokens; it does not touch the RGB tokens. The feed-forward has the tokens' own width.
    """

    def __init__(self, width: int, num_heads: int = 8, num_layers: int = 2) -> None:
        super().__init__()
        self.event_mark = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.event_mark, std=0.02)
        self.layers = nn.ModuleList(SelfAttentionLayer(width, num_heads) for _ in range(num_layers))

    def forward(self, rgb_tokens: Tensor, event_tokens: Tensor) -> Tensor:
        """Fuse (B, N, D) with (B, M, D) to (B, N, D)."""
        tokens = torch.cat([event_tokens + self.event_mark, rgb_tokens], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens[:, -rgb_tokens.shape[1] :]

    def gates(self) -> dict[str, float]:
        """Return the root mean square of each layer's output weights, zero at the start."""
        named: dict[str, float] = {}
        for i, layer in enumerate(self.layers):
            named[f"attention_{i}"] = root_mean_square(layer.attention.to_out.weight)  # type: ignore[union-attr, arg-type]
            named[f"mlp_{i}"] = root_mean_square(layer.mlp.fc2.weight)  # type: ignore[union-attr, arg-type]
        return named


class SelfAttentionLayer(nn.Module):
    """Pre-norm self-attention and feed-forward whose residual branches start at zero."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CrossAttention(width, num_heads, zero_output=True)
        self.mlp = FeedForward(width, width, zero_output=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """Update (B, N, D)."""
        normed = self.norm_attention(tokens)
        tokens = tokens + self.attention(normed, normed)
        return tokens + self.mlp(self.norm_mlp(tokens))  # type: ignore[no-any-return]
