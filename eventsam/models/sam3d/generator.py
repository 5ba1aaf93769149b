"""The sparse-structure generator: the velocity of all five latents from noisy latents, time and condition tokens."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eventsam.models.attention import grid_positions
from eventsam.models.freeze import Freezable
from eventsam.models.sam3d.blocks import (
    POSE,
    KeysValues,
    PreciseLinear,
    Streams,
    TwoStreamBlock,
)
from eventsam.models.sam3d.latents import LATENTS, POSE_CHANNELS, SHAPE, Latents, check_latents, latent_sizes
from eventsam.models.sam3d.presets import Sam3dPreset

InjectCondition = Callable[[int, Tensor], Tensor]
"""Called before block i with the condition tokens (B, N, D); returns what replaces them from that block on.

It sees neither latents nor time, so one call per block serves every step of a sampling run.
"""

MAX_PERIOD = 10000.0
TIME_SCALE = 1000.0


class BlockCondition(NamedTuple):
    """What one block reads: condition tokens (B, N, D) and, when prepared, the shape stream's keys and values."""

    tokens: Tensor
    prepared: KeysValues | None


class TimestepEmbedder(nn.Module):
    """A number as [cos, sin] of `frequency_width / 2` frequencies from 1 to 1/10000, then linear, SiLU, linear."""

    def __init__(self, width: int, frequency_width: int) -> None:
        super().__init__()
        self.frequency_width = frequency_width
        self.mlp = nn.Sequential(PreciseLinear(frequency_width, width), nn.SiLU(), PreciseLinear(width, width))

    def forward(self, values: Tensor) -> Tensor:
        """Embed (B,) to (B, width) in the values' dtype."""
        return self.mlp(sinusoid(values, self.frequency_width))  # type: ignore[no-any-return]


class LatentMapping(nn.Module):
    """One latent's way in, linear plus position, and out, parameter-free LayerNorm and linear.

    The shape's position is fixed (sine/cosine of its grid, in the state dict all the same), a pose latent's is learned.
    """

    pos_emb: Tensor

    def __init__(self, channels: int, width: int, grid: int | None) -> None:
        super().__init__()
        self.input_layer = PreciseLinear(channels, width)
        self.out_layer = PreciseLinear(width, channels)
        if grid is None:
            self.pos_emb = nn.Parameter(torch.empty(1, width))
            nn.init.normal_(self.pos_emb, std=0.02)
        else:
            self.register_buffer("pos_emb", grid_positions(grid, width))
        self.register_load_state_dict_pre_hook(_drop_leading_axes)  # type: ignore[no-untyped-call]

    def enter(self, latent: Tensor) -> Tensor:
        """Map (B, N, channels) to tokens (B, N, width)."""
        return self.input_layer(latent) + self.pos_emb.to(latent.dtype)  # type: ignore[no-any-return]

    def leave(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, N, width) to (B, N, channels)."""
        return self.out_layer(nn.functional.layer_norm(tokens, tokens.shape[-1:]))  # type: ignore[no-any-return]


class TwoStreamTransformer(nn.Module):
    """The network inside the generator; its parameter names are the released ones."""

    def __init__(self, preset: Sam3dPreset) -> None:
        super().__init__()
        width = preset.width
        self.t_embedder = TimestepEmbedder(width, preset.frequency_width)
        self.d_embedder = TimestepEmbedder(width, preset.frequency_width)
        self.latent_mapping = nn.ModuleDict(
            {
                name: LatentMapping(channels, width, preset.grid if name == SHAPE else None)
                for name, (_, channels) in latent_sizes(preset).items()
            }
        )
        self.blocks = nn.ModuleList(
            TwoStreamBlock(width, preset.condition_width, preset.num_heads, preset.mlp_ratio)
            for _ in range(preset.num_blocks)
        )
        self._initialise()

    def _initialise(self) -> None:
        """Start as DiT does: Xavier, no biases, gates shut; and without any influence of the step."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for embedder in (self.t_embedder, self.d_embedder):
            for layer in (embedder.mlp[0], embedder.mlp[2]):
                nn.init.normal_(layer.weight, std=0.02)  # type: ignore[arg-type]
        for mapping in self.latent_mapping.values():
            nn.init.normal_(mapping.out_layer.weight, std=0.02)  # type: ignore[union-attr, arg-type]
        for shut in (self.d_embedder.mlp[2], *(block.adaLN_modulation[1] for block in self.blocks)):  # type: ignore[index]
            nn.init.zeros_(shut.weight)  # type: ignore[union-attr, arg-type]


class Generator(Freezable):
    """The flow model of SAM 3D's first stage (arXiv 2511.16624): shape and pose latents, denoised together.

    A transformer of `preset.num_blocks` blocks on two streams of tokens: the shape's grid^3 and the pose's four. The
    velocity points from noise (time 0) to data (time 1). With `checkpointing`, training keeps only the blocks' inputs
    and computes each block again in the backward pass. Weights may be float32 (with or without autocast) or bfloat16;
    times, the residual stream, latents and velocities are float32 either way. No sample depends on its batch.
    """

    def __init__(self, preset: Sam3dPreset, checkpointing: bool = False) -> None:
        super().__init__()
        self.preset, self.checkpointing = preset, checkpointing
        # Released checkpoints hold the network under these two names: a guidance wrapper and what it wraps.
        self.reverse_fn = nn.ModuleDict({"backbone": TwoStreamTransformer(preset)})

    @property
    def backbone(self) -> TwoStreamTransformer:
        """The network."""
        return self.reverse_fn["backbone"]  # type: ignore[return-value]

    @property
    def dtype(self) -> torch.dtype:
        """What latents and velocities are computed in: float32, or float64 where the weights are."""
        return torch.promote_types(self.backbone.t_embedder.mlp[0].weight.dtype, torch.float32)  # type: ignore[arg-type]

    @property
    def learns(self) -> bool:
        """Whether this generator itself is being trained: in train mode, with parameters that take a gradient."""
        return self.training and any(parameter.requires_grad for parameter in self.parameters())

    def read(self, condition: Tensor, inject: InjectCondition | None = None) -> tuple[BlockCondition, ...]:
        """Return what each block will read of condition tokens (B, N, D), with `inject` applied.

        Time and latents have no part in it, so it can be kept for several calls of `forward`.
        """
        if condition.ndim != 3 or condition.shape[2] != self.preset.condition_width:
            expected = f"(B, N, {self.preset.condition_width})"
            raise ValueError(f"expected condition tokens {expected}, got {tuple(condition.shape)}")
        conditions: list[BlockCondition] = []
        for index in range(self.preset.num_blocks):
            condition = condition if inject is None else inject(index, condition)
            conditions.append(BlockCondition(condition, None))
        return tuple(conditions)

    def project(self, conditions: Sequence[BlockCondition]) -> tuple[BlockCondition, ...]:
        """Add the shape stream's keys and values, so that several calls share that work too.

        They take 2 N width numbers per sample and block: 0.74 GB per sample in bfloat16 at released size.
        """
        blocks = zip(self.backbone.blocks, conditions, strict=True)
        return tuple(BlockCondition(read.tokens, block.prepare(read.tokens)) for block, read in blocks)  # type: ignore[operator]

    def forward(
        self,
        latents: Mapping[str, Tensor],
        time: Tensor,
        step: Tensor,
        condition: Tensor | Sequence[BlockCondition],
        *,
        inject: InjectCondition | None = None,
    ) -> Latents:
        """Return the velocity of each latent.

        latents: all five, or the shape alone, (B, tokens, channels); time (B,) in [0, 1]; step (B,), the length of the
        step that the velocity is for, 0 for the instantaneous one; condition (B, N, D), or what `read` and `project`
        made of it, `inject` included. Raises ValueError for sizes that do not fit.
        """
        check_latents(latents, self.preset, len(time))
        if isinstance(condition, Tensor):
            condition = self.read(condition, inject)
        elif inject is not None:
            raise ValueError("a condition that has been read has been injected into; leave inject out")
        if len(condition[0].tokens) != len(time):
            raise ValueError(f"expected the condition of {len(time)} samples, got {len(condition[0].tokens)}")
        embedded, streams = self._embed(time, step), self._enter(latents)
        for block, read in zip(self.backbone.blocks, condition, strict=True):
            streams = self._run(block, streams, embedded, *read)
        return self._leave(streams)

    def _run(self, block: nn.Module, *inputs: Any) -> Streams:
        if self.checkpointing and torch.is_grad_enabled():
            # Nothing in a block is random, so the global random state can be left alone.
            return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
        return block(*inputs)  # type: ignore[no-any-return]

    def _embed(self, time: Tensor, step: Tensor) -> Tensor:
        time, step = (TIME_SCALE * number.to(self.dtype) for number in (time, step))
        return self.backbone.t_embedder(time) + self.backbone.d_embedder(step)  # type: ignore[no-any-return]

    def _enter(self, latents: Mapping[str, Tensor]) -> Streams:
        mapping = self.backbone.latent_mapping
        tokens = {name: mapping[name].enter(latents[name].to(self.dtype)) for name in LATENTS if name in latents}  # type: ignore[operator]
        streams = {SHAPE: tokens.pop(SHAPE)}
        if tokens:
            streams[POSE] = torch.cat([tokens[name] for name in POSE_CHANNELS], dim=1)
        return streams

    def _leave(self, streams: Streams) -> Latents:
        tokens = {SHAPE: streams[SHAPE]}
        if POSE in streams:
            tokens |= {name: streams[POSE][:, i : i + 1] for i, name in enumerate(POSE_CHANNELS)}
        return {name: self.backbone.latent_mapping[name].leave(x) for name, x in tokens.items()}  # type: ignore[operator]


def sinusoid(values: Tensor, width: int) -> Tensor:
    """Return [cos, sin] of values (B,) times width / 2 frequencies, 10000^(-i / (width / 2)): (B, width)."""
    half = width // 2
    exponents = torch.arange(half, device=values.device, dtype=values.dtype) / half
    angles = values[:, None] * torch.exp(-math.log(MAX_PERIOD) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _drop_leading_axes(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Take a position with or without a batch axis of 1: the same numbers."""
    name, here = f"{prefix}pos_emb", cast(Tensor, module.pos_emb)
    if name in state and state[name].numel() == here.numel() and state[name].shape[-1:] == here.shape[-1:]:
        state[name] = state[name].reshape(here.shape)
