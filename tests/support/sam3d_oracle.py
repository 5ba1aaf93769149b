"""The generator's equations, one sample at a time, in plain matrix products; and a small generator to hold them to."""

import dataclasses
import math

import torch
from torch import Tensor

from eventsam.models.sam3d.generator import Generator
from eventsam.models.sam3d.latents import Latents, noise
from eventsam.models.sam3d.presets import PRESETS, Sam3dPreset

SMALLEST = dataclasses.replace(
    PRESETS["tiny"], width=24, condition_width=20, num_heads=3, num_blocks=3, grid=3, frequency_width=16
)
POSE_NAMES = ("6drotation_normalized", "translation", "scale", "translation_scale")


def random_generator(preset: Sam3dPreset = SMALLEST, seed: int = 0, **options) -> Generator:
    """A float64 generator none of whose parameters is at its quiet start (gates shut, steps ignored)."""
    rng = torch.Generator().manual_seed(seed)
    generator = Generator(preset, **options).double()
    with torch.no_grad():
        for parameter in generator.parameters():
            spread = 1 / math.sqrt(parameter.shape[-1]) if parameter.ndim > 1 else 0.3
            parameter.copy_(spread * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    return generator


def random_inputs(batch: int = 2, num_tokens: int = 7, seed: int = 1) -> tuple[Latents, Tensor, Tensor, Tensor]:
    """Latents, times, steps and conditions for SMALLEST."""
    rng = torch.Generator().manual_seed(seed)
    latents = {name: tensor.double() for name, tensor in noise(SMALLEST, batch, rng).items()}
    time, step = torch.rand(2, batch, generator=rng, dtype=torch.float64)
    condition = torch.randn(batch, num_tokens, SMALLEST.condition_width, generator=rng, dtype=torch.float64)
    return latents, time, step / 2, condition


def oracle(generator: Generator, latents: Latents, time: float, step: float, condition: Tensor) -> Latents:
    """The velocity of one sample: latents (tokens, channels), condition (N, D). Its state dict is all that is used."""
    weights, num_heads = generator.state_dict(), generator.preset.num_heads

    def get(name: str) -> Tensor:
        return weights[f"reverse_fn.backbone.{name}"]

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ get(f"{name}.weight").T + get(f"{name}.bias")

    def embed(name: str, value: float) -> Tensor:
        half = get(f"{name}.mlp.0.weight").shape[1] // 2
        angles = [value * 10000 ** (-i / half) for i in range(half)]
        waves = [math.cos(angle) for angle in angles] + [math.sin(angle) for angle in angles]
        return linear(f"{name}.mlp.2", silu(linear(f"{name}.mlp.0", torch.tensor(waves, dtype=torch.float64))))

    emb = embed("t_embedder", 1000 * time) + embed("d_embedder", 1000 * step)
    tokens = {
        name: linear(f"latent_mapping.{name}.input_layer", x) + get(f"latent_mapping.{name}.pos_emb")
        for name, x in latents.items()
    }
    x = {"shape": tokens["shape"], POSE_NAMES[0]: torch.cat([tokens[name] for name in POSE_NAMES])}
    for i in range(generator.preset.num_blocks):
        block = f"blocks.{i}"
        six = linear(f"{block}.adaLN_modulation.1", silu(emb))
        shift1, scale1, gate1, shift2, scale2, gate2 = six.reshape(6, -1)
        keys_values = {}
        for m in x:
            q, k, v = linear(f"{block}.self_attn.to_qkv.{m}", norm(x[m]) * (1 + scale1) + shift1).chunk(3, dim=1)
            gammas = [get(f"{block}.self_attn.{which}_rms_norm.{m}.gamma") for which in "qk"]
            keys_values[m] = (rms(q, gammas[0]), rms(k, gammas[1]), v)
        mixed = {}
        for m in x:
            seen = ["shape"] if m == "shape" else [POSE_NAMES[0], "shape"]
            k, v = (torch.cat([keys_values[other][part] for other in seen]) for part in (1, 2))
            mixed[m] = attention(keys_values[m][0], k, v, num_heads)
        for m in x:
            x[m] = x[m] + gate1 * linear(f"{block}.self_attn.to_out.{m}", mixed[m])
            queries = norm(x[m]) * get(f"{block}.norm2.{m}.weight") + get(f"{block}.norm2.{m}.bias")
            k, v = linear(f"{block}.cross_attn.{m}.to_kv", condition).chunk(2, dim=1)
            looked = attention(linear(f"{block}.cross_attn.{m}.to_q", queries), k, v, num_heads)
            x[m] = x[m] + linear(f"{block}.cross_attn.{m}.to_out", looked)
            hidden = gelu_tanh(linear(f"{block}.mlp.{m}.mlp.0", norm(x[m]) * (1 + scale2) + shift2))
            x[m] = x[m] + gate2 * linear(f"{block}.mlp.{m}.mlp.2", hidden)
    ends = {"shape": x["shape"]} | {name: x[POSE_NAMES[0]][i : i + 1] for i, name in enumerate(POSE_NAMES)}
    return {name: linear(f"latent_mapping.{name}.out_layer", norm(end, 1e-5)) for name, end in ends.items()}


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    centred = x - x.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + epsilon).sqrt()


def rms(x: Tensor, gamma: Tensor) -> Tensor:
    heads = x.unflatten(1, gamma.shape)
    return (heads / heads.square().mean(dim=2, keepdim=True).sqrt() * gamma).flatten(1)


def attention(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    mixed = []
    for q_head, k_head, v_head in zip(*(part.chunk(num_heads, dim=1) for part in (q, k, v)), strict=True):
        scores = torch.exp(q_head @ k_head.T / math.sqrt(q_head.shape[1]))
        mixed.append(scores / scores.sum(dim=1, keepdim=True) @ v_head)
    return torch.cat(mixed, dim=1)
