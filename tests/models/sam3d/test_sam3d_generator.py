"""The generator against its equations, and what a user relies on: one-way streams, gradients, dtypes, refusals."""

import pytest
import torch
from sam3d_oracle import SMALLEST, oracle, random_generator, random_inputs

from eventsam.models.sam3d.generator import Generator, TimestepEmbedder, sinusoid
from eventsam.models.sam3d.latents import SHAPE, noise

POSE_NAMES = ("6drotation_normalized", "translation", "scale", "translation_scale")
EXACT = dict(rtol=1e-9, atol=1e-11)


def test_the_velocity_follows_the_equations() -> None:
    generator = random_generator()
    latents, time, step, condition = random_inputs()
    velocity = generator(latents, time, step, condition)
    for i in range(2):
        one = {name: x[i] for name, x in latents.items()}
        for name, expected in oracle(generator, one, time[i].item(), step[i].item(), condition[i]).items():
            torch.testing.assert_close(velocity[name][i], expected, **EXACT)


def test_no_sample_depends_on_its_batch() -> None:
    generator = random_generator()
    latents, time, step, condition = random_inputs(batch=3)
    together = generator(latents, time, step, condition)
    alone = generator({name: x[1:2] for name, x in latents.items()}, time[1:2], step[1:2], condition[1:2])
    for name in together:
        torch.testing.assert_close(together[name][1:2], alone[name], **EXACT)


def test_the_shape_runs_alone() -> None:
    generator = random_generator()
    latents, time, step, condition = random_inputs()
    alone = generator({SHAPE: latents[SHAPE]}, time, step, condition)
    assert list(alone) == [SHAPE]
    assert torch.equal(alone[SHAPE], generator(latents, time, step, condition)[SHAPE])


def test_the_pose_reads_the_shape_and_never_trains_it() -> None:
    generator = random_generator()
    latents, time, step, condition = random_inputs()
    before = generator(latents, time, step, condition)
    moved = generator({**latents, SHAPE: latents[SHAPE] + 1}, time, step, condition)
    assert not torch.allclose(before["translation"], moved["translation"])
    latents = {name: x.requires_grad_() for name, x in latents.items()}
    sum(generator(latents, time, step, condition)[name].square().sum() for name in POSE_NAMES).backward()
    trained = {name for name, p in generator.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert latents[SHAPE].grad is None and latents["scale"].grad is not None
    assert [name for name in trained if ".shape." in name] == []
    own = {
        name for name, _ in generator.named_parameters() if ".6drotation_normalized." in name and "to_kv" not in name
    }
    assert own <= trained


def test_the_shape_loss_trains_only_the_shape_stream() -> None:
    generator = random_generator()
    generator(*random_inputs())[SHAPE].square().sum().backward()
    trained = {name for name, p in generator.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert all(".shape." in name or "adaLN" in name or "_embedder" in name for name in trained)
    assert {name for name, _ in generator.named_parameters() if ".shape." in name} <= trained


def test_a_time_is_cosines_then_sines() -> None:
    values = torch.tensor([0.0, 250.0, 1000.0], dtype=torch.float64)
    waves = sinusoid(values, 256)
    assert waves.shape == (3, 256)
    for i in (0, 1, 77, 127):
        frequency = 10000.0 ** (-i / 128)
        torch.testing.assert_close(waves[:, i], (values * frequency).cos())
        torch.testing.assert_close(waves[:, 128 + i], (values * frequency).sin())


def test_an_untrained_generator_ignores_the_step_and_not_the_condition() -> None:
    torch.manual_seed(0)
    generator = Generator(SMALLEST)
    latents, time, step, condition = random_inputs()
    before = generator(latents, time, step, condition)
    assert torch.equal(before[SHAPE], generator(latents, time, step * 0, condition)[SHAPE])
    assert not torch.allclose(before[SHAPE], generator(latents, time, step, condition + 1)[SHAPE])
    assert all(x.abs().max() > 0 for x in before.values())


def test_injections_happen_before_each_block_and_accumulate() -> None:
    generator = random_generator()
    latents, time, step, condition = random_inputs()
    seen: list[tuple[int, float]] = []

    def inject(index: int, tokens: torch.Tensor) -> torch.Tensor:
        seen.append((index, (tokens - condition).mean().item()))
        return tokens + 1 if index in (0, 2) else tokens

    velocity = generator(latents, time, step, condition, inject=inject)
    assert [(index, round(moved)) for index, moved in seen] == [(0, 0), (1, 1), (2, 1)]
    assert not torch.allclose(velocity[SHAPE], generator(latents, time, step, condition)[SHAPE])
    unchanged = generator(latents, time, step, condition, inject=lambda _, tokens: tokens)
    assert torch.equal(unchanged[SHAPE], generator(latents, time, step, condition)[SHAPE])


def test_a_condition_read_and_projected_once_gives_the_same() -> None:
    generator = random_generator()
    latents, time, step, condition = random_inputs()

    def inject(index: int, tokens: torch.Tensor) -> torch.Tensor:
        return tokens * (1 + index)

    expected = generator(latents, time, step, condition, inject=inject)
    read = generator.read(condition, inject)
    for conditions in (read, generator.project(read)):
        for name, velocity in generator(latents, time, step, conditions).items():
            assert torch.equal(velocity, expected[name])
    with pytest.raises(ValueError, match="has been injected into"):
        generator(latents, time, step, read, inject=inject)


def test_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        generator = random_generator(checkpointing=checkpointing)
        latents, time, step, condition = random_inputs()
        condition.requires_grad_()
        before = torch.get_rng_state()
        sum(x.square().sum() for x in generator(latents, time, step, condition).values()).backward()
        assert torch.equal(torch.get_rng_state(), before)
        named = {name: p.grad for name, p in generator.named_parameters() if p.grad is not None}
        gradients.append({**named, "condition": condition.grad})
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-14)


def test_checkpointing_keeps_less() -> None:
    kept = []
    for checkpointing in (False, True):
        generator, total = random_generator(checkpointing=checkpointing), [0]

        def count(tensor: torch.Tensor, total: list[int] = total) -> torch.Tensor:
            total[0] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            generator(*random_inputs())
        kept.append(total[0])
    assert kept[1] < kept[0] / 5


@pytest.mark.parametrize("mode", ["autocast", "weights"])
def test_bfloat16_stays_close_and_velocities_are_float32(mode) -> None:
    exact, generator = random_generator(), random_generator().float()
    latents, time, step, condition = random_inputs()
    expected = exact(latents, time, step, condition)
    if mode == "weights":
        generator = generator.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        velocity = generator({name: x.float() for name, x in latents.items()}, time.float(), step, condition.float())
    for name in velocity:
        assert velocity[name].dtype == torch.float32
        assert (velocity[name] - expected[name]).square().mean().sqrt() < 0.05 * expected[name].square().mean().sqrt()


def test_neighbouring_times_differ_under_autocast() -> None:
    embedder = TimestepEmbedder(32, 256)
    with torch.autocast("cpu", torch.bfloat16):
        near = embedder(torch.tensor([900.0, 900.5]))
    assert near.dtype == torch.float32 and not torch.equal(near[0], near[1])


def test_what_does_not_fit_is_refused() -> None:
    generator = random_generator()
    latents, time, step, condition = random_inputs()
    with pytest.raises(ValueError, match=r"condition tokens \(B, N, 20\), got \(2, 7, 19\)"):
        generator(latents, time, step, condition[..., :19])
    with pytest.raises(ValueError, match="condition of 2 samples, got 1"):
        generator(latents, time, step, condition[:1])
    with pytest.raises(ValueError, match="latents translation are missing"):
        generator({name: x for name, x in latents.items() if name != "translation"}, time, step, condition)
    with pytest.raises(ValueError, match=r"'shape' of shape \(2, 27, 8\)"):
        generator({**latents, **noise(SMALLEST, 1, torch.Generator())}, time, step, condition)
