"""Sampling: times, Euler on a known field, the two modes, seeds that belong to samples, gradients, refusals."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sam3d_oracle import SMALLEST, random_generator, random_inputs

from eventsam.models.sam3d.guidance import Guidance
from eventsam.models.sam3d.latents import SHAPE, seeded_noise
from eventsam.models.sam3d.sampler import euler, sample, step_times

EXACT = dict(rtol=1e-9, atol=1e-11)


@given(st.integers(1, 60), st.floats(0.2, 8.0))
def test_times_run_from_noise_to_data(num_steps, rescale) -> None:
    times = step_times(num_steps, rescale)
    assert times[0] == 0 and times[-1] == 1 and len(times) == num_steps + 1
    assert all(earlier < later for earlier, later in pairwise(times))


def test_released_times() -> None:
    assert step_times(4, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert step_times(2, 3.0) == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("options", [{"num_steps": 0, "rescale": 1.0}, {"num_steps": 4, "rescale": 0.0}])
def test_impossible_times_are_refused(options) -> None:
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        step_times(**options)


def test_euler_follows_a_known_field() -> None:
    start = {"x": torch.ones(2, 1, 1, dtype=torch.float64)}
    end = euler(lambda latents, time, step: {"x": latents["x"]}, start, step_times(8, 1.0))
    torch.testing.assert_close(end["x"], torch.full((2, 1, 1), (1 + 1 / 8) ** 8, dtype=torch.float64))
    errors = [
        (euler(lambda latents, time, step: {"x": latents["x"]}, start, step_times(n, 3.0))["x"][0] - math.e)
        .abs()
        .item()
        for n in (50, 100)
    ]
    assert 1.8 < errors[0] / errors[1] < 2.2
    assert start["x"].eq(1).all()


def recorded(generator, calls):
    """Let the generator note (time, step, tokens of its condition) at each call."""
    forward = generator.forward

    def noting(latents, time, step, condition, *, inject=None):
        tokens = condition if isinstance(condition, torch.Tensor) else condition[0].tokens
        calls.append((time[0].item(), step[0].item(), tokens.shape[1]))
        return forward(latents, time, step, condition, inject=inject)

    generator.forward = noting
    return generator


def test_the_normal_mode_is_guided_while_the_time_is_below_a_half() -> None:
    calls: list[tuple[float, float, int]] = []
    generator, (_, _, _, condition) = recorded(random_generator(), calls), random_inputs()
    with torch.no_grad():
        sample(generator, condition, seeds=[1, 2])
    conditional = [time for time, _, tokens in calls if tokens == 7]
    assert conditional == step_times(25, 3.0)[:-1]
    assert [time for time, _, tokens in calls if tokens == 1] == [time for time in conditional if time <= 0.5]
    assert {step for _, step, _ in calls} == {0.0}


@pytest.mark.parametrize(("rescale", "steps"), [(None, [0.25] * 4), (3.0, [1 / 10, 3 / 20, 1 / 4, 1 / 2])])
def test_the_distilled_mode_names_the_step_it_takes(rescale, steps) -> None:
    calls: list[tuple[float, float, int]] = []
    generator, (_, _, _, condition) = recorded(random_generator(), calls), random_inputs()
    with torch.no_grad():
        sample(generator, condition, seeds=[1, 2], num_steps=4, distilled=True, rescale=rescale)
    assert [tokens for _, _, tokens in calls] == [7] * 4
    assert [step for _, step, _ in calls] == pytest.approx(steps)


def test_samples_follow_the_euler_equation() -> None:
    generator, (_, _, _, condition) = random_generator(), random_inputs()
    with torch.no_grad():
        found = sample(generator, condition, seeds=[5, 6], num_steps=3, rescale=1.0, guidance=Guidance(2.0))
        latents = {name: x.double() for name, x in seeded_noise(SMALLEST, [5, 6]).items()}
        for k in range(3):
            time, none = torch.full((2,), k / 3, dtype=torch.float64), torch.zeros(2)
            velocity = generator(latents, time, none, condition)
            if k < 2:
                without = generator(latents, time, none, 0 * condition)
                velocity[SHAPE] = 3 * velocity[SHAPE] - 2 * without[SHAPE]
            latents = {name: x + velocity[name] / 3 for name, x in latents.items()}
    for name in latents:
        torch.testing.assert_close(found[name], latents[name], **EXACT)


def test_a_sample_is_the_same_in_any_batch() -> None:
    generator, (_, _, _, condition) = random_generator(), random_inputs(batch=3)
    before = torch.get_rng_state()
    together = sample(generator, condition, seeds=[4, 5, 6], num_steps=2, distilled=True)
    alone = sample(generator, condition[2:], seeds=[6], num_steps=2, distilled=True)
    assert torch.equal(torch.get_rng_state(), before)
    for name in together:
        torch.testing.assert_close(together[name][2:], alone[name], **EXACT)


@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_the_injection_through_all_steps(num_steps, checkpointing) -> None:
    gradients = []
    for option in (False, checkpointing):
        generator, (_, _, _, condition) = random_generator(checkpointing=option).freeze(), random_inputs()
        shift = torch.zeros(SMALLEST.condition_width, dtype=torch.float64, requires_grad=True)
        latents = sample(
            generator,
            condition,
            seeds=[1, 2],
            num_steps=num_steps,
            distilled=True,
            inject=lambda _, tokens, shift=shift: tokens + shift,
        )
        sum(x.square().sum() for x in latents.values()).backward()
        gradients.append(shift.grad)
    torch.testing.assert_close(gradients[0], gradients[1], **EXACT)
    assert gradients[0].abs().sum() > 0


def test_refusals() -> None:
    generator, (_, _, _, condition) = random_generator(), random_inputs()
    with pytest.raises(ValueError, match="1 seeds for 2 conditions"):
        sample(generator, condition, seeds=[1])
    with pytest.raises(ValueError, match="takes no guidance"):
        sample(generator, condition, seeds=[1, 2], num_steps=4, distilled=True, guidance=Guidance())
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        sample(generator, condition, seeds=[1, 2], num_steps=0)
