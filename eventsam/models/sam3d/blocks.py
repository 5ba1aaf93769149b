"""The generator's block: two streams of tokens, one modulation, attention in which the pose sees the shape only."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eventsam.models.sam3d.latents import ROTATION, SHAPE

POSE = ROTATION
"""The released name of the pose stream: all four pose latents, one token each."""

STREAMS = (SHAPE, POSE)

Streams = dict[str, Tensor]
"""Tokens (B, N, D) of the shape stream and, unless the shape runs alone, of the pose stream."""

NORM_EPSILON = 1e-6


class Linear(nn.Linear):
    """A linear layer that takes any floating dtype: the residual stream is float32 even where the weights are not."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features) in the weights' dtype, or in autocast's."""
        if torch.is_autocast_enabled(tokens.device.type):
            return super().forward(tokens)
        return super().forward(tokens.to(self.weight.dtype))


class PreciseLinear(nn.Linear):
    """A linear layer that computes in its input's dtype, also under autocast: for times and latents, small and exact.

    1000 t in bfloat16 is off by up to 2, which is more than one of 500 steps.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features), same dtype."""
        with torch.autocast(values.device.type, enabled=False):
            return F.linear(values, self.weight.to(values.dtype), self.bias.to(values.dtype))


class PreciseLayerNorm(nn.LayerNorm):
    """An affine LayerNorm that computes in its input's dtype, whatever that of its weights."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalise (B, N, D)."""
        weight, bias = self.weight.to(tokens.dtype), self.bias.to(tokens.dtype)
        return F.layer_norm(tokens, self.normalized_shape, weight, bias, self.eps)


class RmsNorm(nn.Module):
    """Each head's vector scaled to a root mean square of 1, times a learned gamma (heads, head width)."""

    def __init__(self, num_heads: int, head_width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_heads, head_width))

    def forward(self, heads: Tensor) -> Tensor:
        """Normalise (B, heads, N, head width) in float32 and return it in the given dtype."""
        precise = heads.to(torch.promote_types(heads.dtype, torch.float32))
        scale = self.gamma[:, None] * math.sqrt(heads.shape[-1])
        return (F.normalize(precise, dim=-1) * scale).to(heads.dtype)


class MixedSelfAttention(nn.Module):
    """Self-attention with weights per stream: shape sees shape; pose sees pose and the shape's keys and values.

    Those keys and values are detached, so that no pose loss ever trains the shape stream, and the shape stream computes
    the same with and without the pose (mixture of transformers; SAM 3D, arXiv 2511.16624).
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_qkv = nn.ModuleDict({stream: Linear(width, 3 * width) for stream in STREAMS})
        self.to_out = nn.ModuleDict({stream: Linear(width, width) for stream in STREAMS})
        self.q_rms_norm = nn.ModuleDict({stream: RmsNorm(num_heads, width // num_heads) for stream in STREAMS})
        self.k_rms_norm = nn.ModuleDict({stream: RmsNorm(num_heads, width // num_heads) for stream in STREAMS})

    def forward(self, streams: Streams) -> Streams:
        """Mix each stream's (B, N, D)."""
        queries, shape_keys, shape_values = self._project(streams, SHAPE)
        mixed = {SHAPE: self._attend(SHAPE, queries, shape_keys, shape_values)}
        if POSE in streams:
            queries, keys, values = self._project(streams, POSE)
            keys = torch.cat([keys, shape_keys.detach()], dim=2)
            values = torch.cat([values, shape_values.detach()], dim=2)
            mixed[POSE] = self._attend(POSE, queries, keys, values)
        return mixed

    def _project(self, streams: Streams, stream: str) -> tuple[Tensor, Tensor, Tensor]:
        qkv = self.to_qkv[stream](streams[stream]).unflatten(-1, (3, self.num_heads, -1))
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
        return self.q_rms_norm[stream](queries), self.k_rms_norm[stream](keys), values

    def _attend(self, stream: str, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return self.to_out[stream](mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class KeysValues(NamedTuple):
    """Keys and values (B, heads, N, head width) of condition tokens."""

    keys: Tensor
    values: Tensor


class ConditionAttention(nn.Module):
    """Cross-attention of one stream to the condition tokens; no norm on queries and keys."""

    def __init__(self, width: int, condition_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = Linear(width, width)
        self.to_kv = Linear(condition_width, 2 * width)
        self.to_out = Linear(width, width)

    def prepare(self, condition: Tensor) -> KeysValues:
        """Project (B, N, condition width) once, for any number of `forward` calls."""
        both = self.to_kv(condition).unflatten(-1, (2, self.num_heads, -1))
        return KeysValues(*both.permute(2, 0, 3, 1, 4))

    def forward(self, tokens: Tensor, prepared: KeysValues) -> Tensor:
        """Attend from (B, Q, D)."""
        queries = self.to_q(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(queries, prepared.keys, prepared.values)
        return self.to_out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def attend_few(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Attend from few tokens (B, Q, D), Q below the head width, straight to the condition (B, N, condition width).

        The same function as `forward`, regrouped: q . (K c + b) is (K^T q) . c plus a term that all c share and the
        softmax cancels; the weights sum to 1, so values can be projected after the sum. Thousands of condition tokens
        are then never projected for the sake of four queries.
        """
        queries = self.to_q(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        condition = condition.to(queries.dtype)
        key_weight, value_weight = self.to_kv.weight.view(2, self.num_heads, -1, condition.shape[-1])
        towards = torch.einsum("bhqd,hdc->bhqc", queries, key_weight).flatten(1, 2)[:, None]
        scale = 1 / math.sqrt(queries.shape[-1])
        seen = F.scaled_dot_product_attention(towards, condition[:, None], condition[:, None], scale=scale)
        seen = seen.view(len(tokens), self.num_heads, tokens.shape[1], -1)
        mixed = torch.einsum("bhqc,hdc->bqhd", seen, value_weight).flatten(2)
        return self.to_out(mixed + self.to_kv.bias.chunk(2)[1])  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Linear, GELU (tanh form), linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(Linear(width, hidden), nn.GELU(approximate="tanh"), Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, N, D) to (B, N, D)."""
        return self.mlp(tokens)  # type: ignore[no-any-return]


class TwoStreamBlock(nn.Module):
    """x += gate1 SelfAttn(mod1(LN x)); x += CrossAttn(affine LN x, condition); x += gate2 MLP(mod2(LN x)).

    mod(y) = y (1 + scale) + shift. Shift, scale and gate, twice, come in this order from one linear layer on the time's
    embedding, shared by both streams (adaLN, DiT, arXiv 2212.09748), which starts at zero: gates shut.
    """

    def __init__(self, width: int, condition_width: int, num_heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), PreciseLinear(width, 6 * width))
        self.norm2 = nn.ModuleDict({stream: PreciseLayerNorm(width, NORM_EPSILON) for stream in STREAMS})
        self.self_attn = MixedSelfAttention(width, num_heads)
        self.cross_attn = nn.ModuleDict(
            {stream: ConditionAttention(width, condition_width, num_heads) for stream in STREAMS}
        )
        self.mlp = nn.ModuleDict({stream: FeedForward(width, mlp_ratio * width) for stream in STREAMS})

    def prepare(self, condition: Tensor) -> KeysValues:
        """Project the condition (B, N, condition width) for the shape stream."""
        return self.cross_attn[SHAPE].prepare(condition)  # type: ignore[operator, no-any-return]

    def forward(self, streams: Streams, time: Tensor, condition: Tensor, prepared: KeysValues | None) -> Streams:
        """Update the streams from time embeddings (B, D), the condition and, if at hand, what `prepare` made of it."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(time)[:, None].chunk(6, dim=-1)
        attended = self.self_attn({name: modulated(x, shift1, scale1) for name, x in streams.items()})
        streams = {name: x + gate1 * attended[name] for name, x in streams.items()}
        streams = {name: x + self._look(name, x, condition, prepared) for name, x in streams.items()}
        return {name: x + gate2 * self.mlp[name](modulated(x, shift2, scale2)) for name, x in streams.items()}

    def _look(self, stream: str, tokens: Tensor, condition: Tensor, prepared: KeysValues | None) -> Tensor:
        attention, normed = self.cross_attn[stream], self.norm2[stream](tokens)
        if stream == POSE:
            return attention.attend_few(normed, condition)  # type: ignore[operator, no-any-return]
        return attention(normed, attention.prepare(condition) if prepared is None else prepared)  # type: ignore[operator, no-any-return]


def modulated(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return LN(x) (1 + scale) + shift for tokens (B, N, D); the norm has no parameters."""
    return F.layer_norm(tokens, tokens.shape[-1:], eps=NORM_EPSILON) * (1 + scale) + shift
