"""Random checkpoints with exactly the key names of SAM 3D Objects' released files, in any size."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

POSE = {"6drotation_normalized": 6, "translation": 3, "scale": 3, "translation_scale": 1}
GENERATOR, EMBEDDER = "_base_models.generator.", "_base_models.condition_embedder."
Keys = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Sizes:
    """What shapes depend on; defaults are small."""

    width: int = 32
    blocks: int = 3
    heads: int = 4
    condition: int = 48
    hidden: int = 128
    latent_grid: int = 4
    dino: tuple[int, int, int, int] = (32, 3, 8, 32)  # width, blocks, patch, image: the encoder preset "micro"
    points: tuple[int, int, int] = (64, 32, 8)  # width, input, window
    channels: tuple[int, ...] = (24, 16, 8)
    frequencies: int = 256


RELEASED = Sizes(
    1024, 24, 16, 1024, 2816, 16, (1024, 24, 14, 518), (512, 256, 8), (512, 128, 32)
)  # fmt: skip
SMALL = Sizes()


def linear(name: str, out: int, into: int) -> Keys:
    yield f"{name}.weight", (out, into)
    yield f"{name}.bias", (out,)


def norm(name: str, width: int) -> Keys:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def generator_keys(s: Sizes) -> Keys:
    w, root = s.width, "reverse_fn.backbone."
    for name in ("t_embedder", "d_embedder"):
        yield from linear(f"{root}{name}.mlp.0", w, s.frequencies)
        yield from linear(f"{root}{name}.mlp.2", w, w)
    for name, channels in {"shape": 8, **POSE}.items():
        mapping = f"{root}latent_mapping.{name}"
        yield from linear(f"{mapping}.input_layer", w, channels)
        yield from linear(f"{mapping}.out_layer", channels, w)
        yield f"{mapping}.pos_emb", (s.latent_grid**3 if name == "shape" else 1, w)
    for i in range(s.blocks):
        yield from block_keys(f"{root}blocks.{i}", s)


def block_keys(block: str, s: Sizes) -> Keys:
    w = s.width
    yield from linear(f"{block}.adaLN_modulation.1", 6 * w, w)
    for stream in ("shape", "6drotation_normalized"):
        yield from norm(f"{block}.norm2.{stream}", w)
        yield from linear(f"{block}.self_attn.to_qkv.{stream}", 3 * w, w)
        yield from linear(f"{block}.self_attn.to_out.{stream}", w, w)
        for which in ("q_rms_norm", "k_rms_norm"):
            yield f"{block}.self_attn.{which}.{stream}.gamma", (s.heads, w // s.heads)
        yield from linear(f"{block}.cross_attn.{stream}.to_q", w, w)
        yield from linear(f"{block}.cross_attn.{stream}.to_kv", 2 * w, s.condition)
        yield from linear(f"{block}.cross_attn.{stream}.to_out", w, w)
        yield from linear(f"{block}.mlp.{stream}.mlp.0", 4 * w, w)
        yield from linear(f"{block}.mlp.{stream}.mlp.2", w, 4 * w)


def transformer_block_keys(block: str, width: int, ratio: int) -> Keys:
    yield from norm(f"{block}.norm1", width)
    yield from linear(f"{block}.attn.qkv", 3 * width, width)
    yield from linear(f"{block}.attn.proj", width, width)
    yield from norm(f"{block}.norm2", width)
    yield from linear(f"{block}.mlp.fc1", ratio * width, width)
    yield from linear(f"{block}.mlp.fc2", width, ratio * width)


def dino_keys(prefix: str, s: Sizes) -> Keys:
    width, blocks, patch, image = s.dino
    yield f"{prefix}cls_token", (1, 1, width)
    yield f"{prefix}register_tokens", (1, 4, width)
    yield f"{prefix}mask_token", (1, width)
    yield f"{prefix}pos_embed", (1, 1 + (image // patch) ** 2, width)
    yield f"{prefix}patch_embed.proj.weight", (width, 3, patch, patch)
    yield f"{prefix}patch_embed.proj.bias", (width,)
    for i in range(blocks):
        yield from transformer_block_keys(f"{prefix}blocks.{i}", width, 4)
        yield f"{prefix}blocks.{i}.ls1.gamma", (width,)
        yield f"{prefix}blocks.{i}.ls2.gamma", (width,)
    yield from norm(f"{prefix}norm", width)


def embedder_keys(s: Sizes) -> Keys:
    yield from dino_keys("module_list.0.backbone.", s)
    yield from dino_keys("module_list.1.backbone.", s)
    width, size, window = s.points
    points = "module_list.2."
    yield from linear(f"{points}point_proj", width, 3)
    yield f"{points}invalid_xyz_token", (width,)
    yield f"{points}cls_token", (1, 1, width)
    yield f"{points}pos_embed_window", (1, 1 + window**2, width)
    yield f"{points}pos_embed", (1, width, size // window, size // window)
    yield from transformer_block_keys(f"{points}blocks.0", width, 2)
    for k, into in enumerate((s.dino[0], s.dino[0], width)):
        yield from norm(f"projection_nets.{k}.0", into)
        yield f"projection_nets.{k}.1.w1.weight", (s.hidden, into)
        yield f"projection_nets.{k}.1.w2.weight", (s.condition, s.hidden)
        yield f"projection_nets.{k}.1.w3.weight", (s.hidden, into)
    yield "idx_emb", (3, s.condition)


def convolution(name: str, out: int, into: int, kernel: int = 3) -> Keys:
    yield f"{name}.weight", (out, into, kernel, kernel, kernel)
    yield f"{name}.bias", (out,)


def residual_keys(block: str, width: int) -> Keys:
    for i in (1, 2):
        yield from norm(f"{block}.norm{i}", width)
        yield from convolution(f"{block}.conv{i}", width, width)


def decoder_keys(s: Sizes) -> Keys:
    yield from convolution("input_layer", s.channels[0], 8)
    for i in range(2):
        yield from residual_keys(f"middle_block.{i}", s.channels[0])
    yield from level_keys(s.channels, upsample=True)
    yield from norm("out_layer.0", s.channels[-1])
    yield from convolution("out_layer.2", 1, s.channels[-1])


def encoder_keys(s: Sizes) -> Keys:
    channels = s.channels[::-1]
    yield from convolution("input_layer", channels[0], 1)
    yield from level_keys(channels, upsample=False)
    for i in range(2):
        yield from residual_keys(f"middle_block.{i}", channels[-1])
    yield from norm("out_layer.0", channels[-1])
    yield from convolution("out_layer.2", 16, channels[-1])


def level_keys(channels: tuple[int, ...], upsample: bool) -> Keys:
    for level, width in enumerate(channels):
        yield from residual_keys(f"blocks.{3 * level}", width)
        yield from residual_keys(f"blocks.{3 * level + 1}", width)
        if level + 1 < len(channels):
            following = channels[level + 1]
            shape = (8 * following, width, 3) if upsample else (following, width, 2)
            yield from convolution(f"blocks.{3 * level + 2}.conv", *shape)


def random_state(keys: Keys, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=draw).to(dtype) for name, shape in keys}


def released_files(s: Sizes = SMALL, encoder: bool = True) -> dict[str, dict]:
    """Return what the released files hold, by file name."""
    shared = {GENERATOR + name: t for name, t in random_state(generator_keys(s), 0, torch.bfloat16).items()}
    shared |= {EMBEDDER + name: t for name, t in random_state(embedder_keys(s), 1).items()}
    files: dict[str, dict] = {"ss_generator.ckpt": {"state_dict": shared}}
    files["ss_decoder.ckpt"] = random_state(decoder_keys(s), 2, torch.float16)
    return files | ({"ss_encoder.ckpt": random_state(encoder_keys(s), 3)} if encoder else {})


def save_files(folder: Path, files: dict[str, dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        torch.save(content, folder / name)
    return folder
