"""The SAM-3D-shaped generator on a CPU: ours against the structure of the reference, on the same weights, in one run.

python -m benchmarks.sam3d_step --preset small --batch-size 8
Rows: one stage-2 step (fusions trained through the frozen generator), one distilled reconstruction of 4 steps, and one
guided one. The reference's structure is a loop over samples, attention that holds its scores, the condition injected
into and projected in every call, and a second full call for guidance. Both must give the same numbers before either
is timed. `ours_bfloat16` keeps the frozen weights in bfloat16 and runs the fusions under autocast; the reference gets
autocast too. Prints one JSON line per row; ratios are of CPU seconds (with one thread, another process on the machine
then matters little), the reference's by ours in the same precision, and the float32 reference's by ours in bfloat16.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from eventsam.models.fusion.flamingo import FlamingoFusion
from eventsam.models.sam3d.blocks import POSE, TwoStreamBlock, modulated
from eventsam.models.sam3d.flow import between, weighted_losses
from eventsam.models.sam3d.generator import Generator, InjectCondition
from eventsam.models.sam3d.guidance import Guidance
from eventsam.models.sam3d.latents import LOSS_WEIGHTS, SHAPE, Latents, noise, seeded_noise
from eventsam.models.sam3d.presets import Sam3dPreset, check_preset
from eventsam.models.sam3d.sampler import euler, sample, step_times

FUSED_BLOCKS = (0, 2, 4, 6)


def attention(queries: Tensor, keys: Tensor, values: Tensor, num_heads: int) -> Tensor:
    """Attend between (1, N, D) and (1, M, D), holding all scores."""
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    scores = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
    return (scores @ v).transpose(1, 2).flatten(2)


def reference_block(block: TwoStreamBlock, streams: dict[str, Tensor], embedded: Tensor, condition: Tensor) -> dict:
    """Run a block on one sample as the reference is built."""
    heads = block.self_attn.num_heads
    shift1, scale1, gate1, shift2, scale2, gate2 = block.adaLN_modulation(embedded)[:, None].chunk(6, dim=-1)
    projected = {}
    for name, x in streams.items():
        q, k, v = block.self_attn.to_qkv[name](modulated(x, shift1, scale1)).chunk(3, dim=-1)
        norms = (block.self_attn.q_rms_norm[name], block.self_attn.k_rms_norm[name])
        q, k = (
            n(y.unflatten(-1, (heads, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)
            for n, y in zip(norms, (q, k), strict=True)
        )
        projected[name] = (q, k, v)
    result = {}
    for name, x in streams.items():
        q, k, v = projected[name]
        if name == POSE:
            k, v = (torch.cat([own, projected[SHAPE][i].detach()], dim=1) for i, own in ((1, k), (2, v)))
        x = x + gate1 * block.self_attn.to_out[name](attention(q, k, v, heads))
        cross = block.cross_attn[name]
        k, v = cross.to_kv(condition).chunk(2, dim=-1)
        x = x + cross.to_out(attention(cross.to_q(block.norm2[name](x)), k, v, heads))
        result[name] = x + gate2 * block.mlp[name](modulated(x, shift2, scale2))
    return result


def reference_velocity(
    generator: Generator, latents: Latents, now: Tensor, step: Tensor, condition: Tensor, inject: InjectCondition
) -> Latents:
    """Return one sample's velocity."""
    embedded, streams = generator._embed(now, step), generator._enter(latents)
    for index, block in enumerate(generator.backbone.blocks):
        condition = inject(index, condition)
        streams = reference_block(block, streams, embedded, condition)
    return generator._leave(streams)


class Fusions(nn.Module):
    """Flamingo fusions of the condition with event tokens before some blocks, gates open."""

    def __init__(self, preset: Sam3dPreset) -> None:
        super().__init__()
        width, heads = preset.condition_width, preset.num_heads
        self.fusions = nn.ModuleDict({str(block): FlamingoFusion(width, heads) for block in FUSED_BLOCKS})
        for fusion in self.fusions.values():
            nn.init.constant_(fusion.cross_gate, 0.5)
            nn.init.constant_(fusion.mlp_gate, 0.5)

    def inject(self, events: Tensor) -> InjectCondition:
        """Return the injection of these event tokens (B, M, D)."""
        return lambda i, tokens: self.fusions[str(i)](tokens, events) if i in FUSED_BLOCKS else tokens

    def reference_inject(self, events: Tensor) -> InjectCondition:
        """Return the same for one sample, with attention that holds its scores."""

        def inject(index: int, tokens: Tensor) -> Tensor:
            if index not in FUSED_BLOCKS:
                return tokens
            fusion = self.fusions[str(index)]
            k, v = fusion.cross.to_kv(fusion.norm_events(events)).chunk(2, dim=-1)
            seen = attention(fusion.cross.to_q(fusion.norm_rgb(tokens)), k, v, fusion.cross.num_heads)
            fused = tokens + torch.tanh(fusion.cross_gate) * fusion.cross.to_out(seen)
            return fused + torch.tanh(fusion.mlp_gate) * fusion.mlp(fusion.norm_mlp(fused))

        return inject


class Rows:
    """The three things that are timed, each in ours and in the reference's structure."""

    def __init__(self, preset: Sam3dPreset, batch: int) -> None:
        torch.manual_seed(0)
        self.generator, self.fusions = Generator(preset).freeze(), Fusions(preset)
        for parameter in self.generator.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        self.batch, rng = batch, torch.Generator().manual_seed(0)
        self.condition = torch.randn(batch, preset.num_condition_tokens, preset.condition_width, generator=rng)
        self.events = torch.randn(batch, 2 * preset.num_image_tokens, preset.condition_width, generator=rng)
        self.start, self.data = noise(preset, batch, rng), noise(preset, batch, rng)
        self.time, self.none = torch.rand(batch, generator=rng), torch.zeros(batch)
        self.seeds = list(range(batch))

    def one(self, i: int) -> tuple[Tensor, InjectCondition]:
        """Return one sample's condition and injection in the reference's structure."""
        return self.condition[i : i + 1], self.fusions.reference_inject(self.events[i : i + 1])

    def step(self) -> Tensor:
        """Train the fusions by flow matching; return a gradient."""
        self.fusions.zero_grad()
        inject = self.fusions.inject(self.events)
        noisy = between(self.start, self.data, self.time)
        velocity = self.generator(noisy, self.time, self.none, self.condition, inject=inject)
        target = {name: self.data[name] - self.start[name] for name in self.data}
        weighted_losses("flow_matching", velocity, target, LOSS_WEIGHTS).total.backward()
        return self.fusions.fusions["0"].cross.to_q.weight.grad

    def reference_step(self) -> Tensor:
        """Do the same sample by sample."""
        self.fusions.zero_grad()
        noisy = between(self.start, self.data, self.time)
        for i in range(self.batch):
            condition, inject = self.one(i)
            at = slice(i, i + 1)
            latents = {name: x[at] for name, x in noisy.items()}
            velocity = reference_velocity(self.generator, latents, self.time[at], self.none[at], condition, inject)
            target = {name: self.data[name][at] - self.start[name][at] for name in self.data}
            (weighted_losses("flow_matching", velocity, target, LOSS_WEIGHTS).total / self.batch).backward()
        return self.fusions.fusions["0"].cross.to_q.weight.grad

    @torch.no_grad()
    def distilled(self) -> Tensor:
        """Reconstruct in 4 steps; return the shape latents."""
        inject = self.fusions.inject(self.events)
        return sample(self.generator, self.condition, seeds=self.seeds, num_steps=4, distilled=True, inject=inject)[
            SHAPE
        ]

    @torch.no_grad()
    def guided(self) -> Tensor:
        """Reconstruct in 4 steps, all guided; return the shape latents."""
        guidance = Guidance(7.0, (0.0, 1000.0))
        inject = self.fusions.inject(self.events)
        return sample(self.generator, self.condition, seeds=self.seeds, num_steps=4, guidance=guidance, inject=inject)[
            SHAPE
        ]

    def reference_distilled(self) -> Tensor:
        """Do the same sample by sample."""
        return self._reference_sample(1.0, 0.0, 0.25)

    def reference_guided(self) -> Tensor:
        """Do the same sample by sample, with two full calls per step."""
        return self._reference_sample(3.0, 7.0, 0.0)

    @torch.no_grad()
    def _reference_sample(self, rescale: float, strength: float, length: float) -> Tensor:
        ends = []
        for i in range(self.batch):
            condition, inject = self.one(i)

            def velocity(latents: Latents, now: float, _: float, condition=condition, inject=inject) -> Latents:
                at, step = torch.tensor([now]), torch.tensor([length])
                found = reference_velocity(self.generator, latents, at, step, condition, inject)
                if strength:
                    nothing = reference_velocity(
                        self.generator, latents, at, step, 0 * condition, lambda _, tokens: tokens
                    )
                    found[SHAPE] = (1 + strength) * found[SHAPE] - strength * nothing[SHAPE]
                return found

            ends.append(euler(velocity, seeded_noise(self.generator.preset, [i]), step_times(4, rescale))[SHAPE])
        return torch.cat(ends)


def seconds(call: Callable[[], Tensor], precision: torch.dtype) -> tuple[float, float]:
    """Return the wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        call()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Check each pair for equal results, time them in turns, print the ratios of the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rows", nargs="+", default=["step", "distilled", "guided"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.no_grad():
        rows, half = (Rows(check_preset(options.preset), options.batch_size) for _ in range(2))
    half.generator.bfloat16()
    fixed = {"preset": options.preset, "batch": options.batch_size, "threads": options.threads}
    for name in options.rows:
        torch.testing.assert_close(getattr(rows, name)(), getattr(rows, f"reference_{name}")(), rtol=1e-3, atol=1e-4)
        calls = {
            "ours": (getattr(rows, name), torch.float32),
            "reference": (getattr(rows, f"reference_{name}"), torch.float32),
            "ours_bfloat16": (getattr(half, name), torch.bfloat16),
            "reference_bfloat16": (getattr(rows, f"reference_{name}"), torch.bfloat16),
        }
        rounds = [{key: seconds(*call) for key, call in calls.items()} for _ in range(options.repeats)]
        wall, cpu = ({key: statistics.median(one[key][i] for one in rounds) for key in calls} for i in (0, 1))
        ratios = {
            "ratio": cpu["reference"] / cpu["ours"],
            "ratio_both_bfloat16": cpu["reference_bfloat16"] / cpu["ours_bfloat16"],
            "ratio_ours_bfloat16": cpu["reference"] / cpu["ours_bfloat16"],
        }
        rounded = {key: round(value, 2) for key, value in ratios.items()}
        shown = {f"{key}_s": [round(wall[key], 3), round(cpu[key], 3)] for key in calls}
        print(json.dumps({"row": name, **fixed, **rounded, **shown}), flush=True)


if __name__ == "__main__":
    main()
