"""The sizes of a SAM 3D model, read from the shapes of its weights."""

import re
from collections.abc import Mapping
from itertools import groupby

from torch import Tensor

from eventsam.models.sam3d.presets import PRESETS, Sam3dPreset
from eventsam.models.vit import PRESETS as ENCODERS
from eventsam.unknown_name import unknown_name

BACKBONE = "reverse_fn.backbone."
IMAGE = "module_list.0.backbone."
Weights = Mapping[str, Tensor]


def read_sizes(generator: Weights, embedder: Weights, decoder: Weights) -> Sam3dPreset:
    """Return the sizes of three states under upstream's names without prefixes.

    The number of heads of the pointmap embedder, which no shape tells, is that of the named preset with its width, or
    16 as released. Raises ValueError naming the key that is missing or the sizes that do not fit each other.
    """
    width, latent_channels = _shape(generator, f"{BACKBONE}latent_mapping.shape.input_layer.weight", 2)
    hidden, pointmap_width = _shape(embedder, "projection_nets.2.1.w1.weight", 2)
    condition_width = _shape(embedder, "idx_emb", 2)[1]
    encoder, image_size = encoder_sizes(embedder, IMAGE)
    channels, layers = _decoder_levels(decoder)
    window = _whole_root(_shape(embedder, "module_list.2.pos_embed_window", 3)[1] - 1, 2, "pointmap window")
    return Sam3dPreset(
        encoder=encoder,
        image_size=image_size,
        condition_width=condition_width,
        hidden_multiple=_hidden_multiple(hidden, condition_width),
        pointmap_width=pointmap_width,
        pointmap_size=_shape(embedder, "module_list.2.pos_embed", 4)[-1] * window,
        pointmap_window=window,
        pointmap_num_heads=_pointmap_heads(pointmap_width),
        width=width,
        num_blocks=_count(generator, f"{BACKBONE}blocks"),
        num_heads=_shape(generator, f"{BACKBONE}blocks.0.self_attn.q_rms_norm.shape.gamma", 2)[0],
        grid=_whole_root(_entry(generator, f"{BACKBONE}latent_mapping.shape.pos_emb").numel() // width, 3, "grid"),
        decoder_channels=channels,
        mlp_ratio=_shape(generator, f"{BACKBONE}blocks.0.mlp.shape.mlp.0.weight", 2)[0] // width,
        frequency_width=_shape(generator, f"{BACKBONE}t_embedder.mlp.0.weight", 2)[1],
        latent_channels=latent_channels,
        decoder_layers=layers,
    )


def encoder_sizes(state: Weights, prefix: str = "") -> tuple[str, int]:
    """Return the preset's name and the image size in pixels of an image encoder, in timm's or DINOv2's names.

    Raises ValueError where no preset has these sizes.
    """
    kernel = f"{prefix}patch_embed.proj.weight"
    width, _, patch, _ = _shape(state, kernel, 4)
    depth = _count(state, f"{prefix}blocks")
    found = [n for n, s in ENCODERS.items() if (s.width, s.patch, s.num_blocks) == (width, patch, depth)]
    if not found:
        known = ", ".join(f"{name} ({s.width}, {s.patch}, {s.num_blocks})" for name, s in ENCODERS.items())
        raise ValueError(f"no encoder preset has width {width}, patch {patch}, {depth} blocks; there are: {known}")
    positions = _shape(state, f"{prefix}pos_embed", 3)[1]
    # DINOv2 also has a position for CLS, timm's encoder with registers has none.
    patches = positions - 1 if f"{prefix}register_tokens" in state else positions
    return found[0], _whole_root(patches, 2, "image positions") * patch


def _entry(state: Weights, name: str) -> Tensor:
    if name not in state:
        raise ValueError(
            f"sizes cannot be read: {unknown_name('weight, not in the checkpoint:', name, _near(state, name))}"
        )
    return state[name]


def _shape(state: Weights, name: str, num_dims: int) -> tuple[int, ...]:
    shape = tuple(_entry(state, name).shape)
    if len(shape) != num_dims:
        raise ValueError(f"sizes cannot be read: {name} has shape {shape}, expected {num_dims} axes")
    return shape


def _near(state: Weights, name: str) -> list[str]:
    """The names in the same part of the model, not thousands of others."""
    for depth in range(name.count("."), -1, -1):
        stem = ".".join(name.split(".")[:depth])
        near = [other for other in state if other.startswith(stem)]
        if near:
            return near[:8]
    return []


def _count(state: Weights, prefix: str) -> int:
    numbers = {int(found[1]) for name in state if (found := re.match(re.escape(prefix) + r"\.(\d+)\.", name))}
    return max(numbers, default=-1) + 1


def _decoder_levels(decoder: Weights) -> tuple[tuple[int, ...], int]:
    """Return the channels of each level and the residual blocks per level, which the middle has too."""
    widths = [
        len(_entry(decoder, name)) if (name := f"blocks.{i}.norm1.weight") in decoder else 0
        for i in range(_count(decoder, "blocks"))
    ]
    # A 0 stands for the resizing block between two levels.
    levels = [list(level) for resizing, level in groupby(widths, key=lambda width: width == 0) if not resizing]
    counts = {_count(decoder, "middle_block"), *(len(level) for level in levels)}
    if not levels or len(counts) != 1 or any(len(set(level)) != 1 for level in levels):
        middle = _count(decoder, "middle_block")
        raise ValueError(f"the decoder's residual blocks make no levels: channels {widths}, {middle} in the middle")
    return tuple(level[0] for level in levels), counts.pop()


def _whole_root(number: int, power: int, what: str) -> int:
    root = round(float(max(number, 0)) ** (1 / power))
    if root**power != number or root < 1:
        raise ValueError(f"{what}: {number} is no whole number to the power of {power}")
    return int(root)


def _hidden_multiple(hidden: int, width: int) -> int:
    """Return the multiple to which 8 / 3 of the width were rounded up: a named preset's, or else any power of two."""
    candidates = [preset.hidden_multiple for preset in PRESETS.values()] + [1 << power for power in range(10)]
    for multiple in candidates:
        if -(-8 * width // (3 * multiple)) * multiple == hidden:
            return multiple
    raise ValueError(f"the projection nets' hidden width {hidden} is not 8 / 3 of {width} rounded up")


def _pointmap_heads(width: int) -> int:
    return next((p.pointmap_num_heads for p in PRESETS.values() if p.pointmap_width == width), 16)
