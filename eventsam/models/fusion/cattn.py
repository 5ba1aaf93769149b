"""Cross-attention fusion: RGB tokens query the event tokens."""

from torch import Tensor, nn

from eventsam.models.attention import CrossAttention, FeedForward, root_mean_square


class CattnFusion(nn.Module):
    """Two pre-norm decoder layers: RGB attends to itself, queries the events, then a feed-forward.

    The last linear of every residual branch starts at zero, so the start is the identity to the last bit.
    """

    def __init__(self, width: int, num_heads: int = 8, num_layers: int = 2) -> None:
        super().__init__()
        self.norm_events = nn.LayerNorm(width)
        self.layers = nn.ModuleList(CrossAttentionLayer(width, num_heads) for _ in range(num_layers))

    def forward(self, rgb_tokens: Tensor, event_tokens: Tensor) -> Tensor:
        """Fuse (B, N, D) with (B, M, D) to (B, N, D)."""
        events = self.norm_events(event_tokens)
        for layer in self.layers:
            rgb_tokens = layer(rgb_tokens, events)
        return rgb_tokens

    def gates(self) -> dict[str, float]:
        """Return the root mean square of each layer's output weights, zero at the start."""
        named: dict[str, float] = {}
        for i, layer in enumerate(self.layers):
            named[f"self_{i}"] = root_mean_square(layer.itself.to_out.weight)  # type: ignore[union-attr, arg-type]
            named[f"cross_{i}"] = root_mean_square(layer.cross.to_out.weight)  # type: ignore[union-attr, arg-type]
            named[f"mlp_{i}"] = root_mean_square(layer.mlp.fc2.weight)  # type: ignore[union-attr, arg-type]
        return named


class CrossAttentionLayer(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward whose residual branches start at zero."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm_itself, self.norm_cross, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.itself = CrossAttention(width, num_heads, zero_output=True)
        self.cross = CrossAttention(width, num_heads, zero_output=True)
        self.mlp = FeedForward(width, width, zero_output=True)

    def forward(self, rgb: Tensor, events: Tensor) -> Tensor:
        """Update (B, N, D) from normalised events (B, M, D)."""
        normed = self.norm_itself(rgb)
        rgb = rgb + self.itself(normed, normed)
        rgb = rgb + self.cross(self.norm_cross(rgb), events)
        return rgb + self.mlp(self.norm_mlp(rgb))  # type: ignore[no-any-return]
