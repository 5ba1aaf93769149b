"""The released state dict: every key and shape, from the sizes alone, on the meta device."""

import pytest
import torch
from sam3d_oracle import SMALLEST, random_generator

from eventsam.models.sam3d.generator import Generator
from eventsam.models.sam3d.presets import PRESETS

CHANNELS = {"shape": 8, "6drotation_normalized": 6, "translation": 3, "scale": 3, "translation_scale": 1}


def layer(name: str, out_width: int, in_width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out_width, in_width), f"{name}.bias": (out_width,)}


def released_block(prefix: str) -> dict[str, tuple[int, ...]]:
    keys = layer(f"{prefix}.adaLN_modulation.1", 6144, 1024)
    for m in ("shape", "6drotation_normalized"):
        keys |= {f"{prefix}.norm2.{m}.weight": (1024,), f"{prefix}.norm2.{m}.bias": (1024,)}
        keys |= layer(f"{prefix}.self_attn.to_qkv.{m}", 3072, 1024) | layer(
            f"{prefix}.self_attn.to_out.{m}", 1024, 1024
        )
        keys |= {f"{prefix}.self_attn.{which}_rms_norm.{m}.gamma": (16, 64) for which in "qk"}
        keys |= layer(f"{prefix}.cross_attn.{m}.to_q", 1024, 1024) | layer(f"{prefix}.cross_attn.{m}.to_kv", 2048, 1024)
        keys |= layer(f"{prefix}.cross_attn.{m}.to_out", 1024, 1024)
        keys |= layer(f"{prefix}.mlp.{m}.mlp.0", 4096, 1024) | layer(f"{prefix}.mlp.{m}.mlp.2", 1024, 4096)
    return keys


def released_keys() -> dict[str, tuple[int, ...]]:
    root = "reverse_fn.backbone"
    keys: dict[str, tuple[int, ...]] = {}
    for embedder in ("t_embedder", "d_embedder"):
        keys |= layer(f"{root}.{embedder}.mlp.0", 1024, 256) | layer(f"{root}.{embedder}.mlp.2", 1024, 1024)
    for name, channels in CHANNELS.items():
        mapping = f"{root}.latent_mapping.{name}"
        keys |= layer(f"{mapping}.input_layer", 1024, channels) | layer(f"{mapping}.out_layer", channels, 1024)
        keys |= {f"{mapping}.pos_emb": (4096 if name == "shape" else 1, 1024)}
    for i in range(24):
        keys |= released_block(f"{root}.blocks.{i}")
    return keys


@pytest.fixture(scope="module")
def released() -> Generator:
    with torch.device("meta"):
        return Generator(PRESETS["sam3d"])


def test_every_released_key_and_shape(released) -> None:
    assert {name: tuple(tensor.shape) for name, tensor in released.state_dict().items()} == released_keys()


def test_the_released_number_of_parameters(released) -> None:
    assert sum(parameter.numel() for parameter in released.parameters()) == pytest.approx(0.96e9, rel=1e-3)


def test_positions_load_with_and_without_a_batch_axis() -> None:
    generator, target = random_generator(seed=3), random_generator(seed=4)
    state = generator.state_dict()
    for name in ("shape", "scale"):
        key = f"reverse_fn.backbone.latent_mapping.{name}.pos_emb"
        state[key] = state[key][None] if name == "shape" else state[key][0]
    target.load_state_dict(state)
    for name, tensor in generator.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)


def test_loading_is_strict() -> None:
    state = random_generator().state_dict()
    del state["reverse_fn.backbone.blocks.1.norm2.shape.bias"]
    state["reverse_fn.backbone.blocks.1.norm1.shape.bias"] = torch.zeros(SMALLEST.width)
    state["reverse_fn.backbone.latent_mapping.shape.pos_emb"] = torch.zeros(64, SMALLEST.width)
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*norm2.shape.bias.*Unexpected.*norm1.*size mismatch.*pos_emb"):
        random_generator().load_state_dict(state)
