"""Shortcut training: a grid that stays on the path, targets against their equation, the mixture of losses."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sam3d_oracle import SMALLEST, random_generator, random_inputs

from eventsam.models.sam3d.flow import flow_matching_loss
from eventsam.models.sam3d.guidance import Guidance
from eventsam.models.sam3d.latents import SHAPE, noise
from eventsam.models.sam3d.shortcut import Shortcut, consistency_loss, consistency_target, draw_grid, shortcut_loss

EXACT = dict(rtol=1e-9, atol=1e-11)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 2**63 - 1))
def test_no_double_step_passes_the_data(seed) -> None:
    time, step = (numbers.tolist() for numbers in draw_grid(64, seeded(seed)))
    for t, d in zip(time, step, strict=True):
        assert d in {2.0**-i for i in range(1, 8)}
        assert t >= 0 and t + 2 * d <= 1
        assert (t / (2 * d)).is_integer()


def test_every_place_of_the_grid_is_drawn_alike() -> None:
    time, step = draw_grid(60000, seeded())
    counts = {d: int((step == d).sum()) for d in step.unique().tolist()}
    assert len(counts) == 7 and max(counts.values()) < 1.1 * min(counts.values())
    places = (time[step == 0.125] / 0.25).unique(return_counts=True)
    assert places[0].tolist() == [0, 1, 2, 3] and places[1].max() < 1.15 * places[1].min()


@pytest.mark.parametrize("strength", [None, 2.0])
def test_the_target_is_the_mean_of_two_steps(strength) -> None:
    generator = random_generator()
    latents, _, _, condition = random_inputs()
    time, step = torch.tensor([0.5, 0.25]).double(), torch.tensor([0.25, 0.125]).double()

    def velocity(at, t):
        found = generator(at, t, step, condition)
        if strength is not None:
            without = generator(at, t, step, 0 * condition)
            found[SHAPE] = (1 + strength) * found[SHAPE] - strength * without[SHAPE]
        return found

    first = velocity(latents, time)
    second = velocity({name: x + step[:, None, None] * first[name] for name, x in latents.items()}, time + step)
    guidance = None if strength is None else Guidance(strength)
    target = consistency_target(generator, latents, time, step, generator.read(condition), guidance)
    for name in latents:
        assert not target[name].requires_grad
        torch.testing.assert_close(target[name], (first[name] + second[name]) / 2, **EXACT)


def test_the_loss_asks_for_the_double_step() -> None:
    generator = random_generator().eval()
    data, _, _, condition = random_inputs()
    losses = consistency_loss(generator, data, condition, rng=seeded(4))
    rng = seeded(4)
    start = noise(SMALLEST, 2, rng)
    time, step = draw_grid(2, rng)
    at = time[:, None, None].double()
    latents = {name: (1 - at) * start[name] + at * data[name] for name in data}
    target = consistency_target(generator, latents, time, step, generator.read(condition), None)
    predicted = generator(latents, time, 2 * step, condition)
    for name in ("shape", "translation"):
        expected = (predicted[name] - target[name]).square().mean()
        torch.testing.assert_close(losses.parts[f"consistency/{name}"], expected)


def test_a_generator_of_straight_paths_has_no_consistency_loss() -> None:
    """With all data in one place, a velocity of (x1 - x) / (1 - t) for every step length is exactly self-consistent."""
    data, _, _, condition = random_inputs()

    class Straight(type(random_generator())):
        def forward(self, latents, time, step, condition, *, inject=None):
            remaining = (1 - time)[:, None, None]
            return {name: (data[name] - x) / remaining for name, x in latents.items()}

    for seed in range(5):
        losses = consistency_loss(Straight(SMALLEST).double(), data, condition, rng=seeded(seed))
        assert losses.total < 1e-20


def test_a_dropped_condition_is_dropped_in_target_and_prediction_alike() -> None:
    generator = random_generator().train()
    data, _, _, condition = random_inputs()
    dropped = consistency_loss(generator, data, condition, rng=seeded(1), drop_probability=1.0).total
    without = consistency_loss(generator, data, 0 * condition, rng=seeded(1), drop_probability=1.0).total
    torch.testing.assert_close(dropped, without)


def test_guided_targets_of_a_dropped_condition_are_unguided() -> None:
    generator = random_generator().train()
    data, _, _, condition = random_inputs()
    losses = [
        consistency_loss(generator, data, condition, rng=seeded(1), guidance=guidance, drop_probability=1.0).total
        for guidance in (None, Guidance(2.0))
    ]
    torch.testing.assert_close(losses[0], losses[1])


def test_gradients_reach_an_injection_through_the_prediction_only() -> None:
    generator = random_generator().freeze()
    data, _, _, condition = random_inputs()
    shift = torch.zeros(SMALLEST.condition_width, dtype=torch.float64, requires_grad=True)
    calls = []

    def inject(index: int, tokens: torch.Tensor) -> torch.Tensor:
        calls.append(index)
        return tokens + shift

    consistency_loss(generator, data, condition, rng=seeded(), guidance=Guidance(2.0), inject=inject).total.backward()
    assert shift.grad is not None and shift.grad.abs().sum() > 0
    assert calls == [0, 1, 2]


def test_a_quarter_of_the_batches_learns_consistency() -> None:
    generator = random_generator().eval()
    data, _, _, condition = random_inputs()
    rng, options = seeded(), Shortcut(consistency_weight=3.0)
    with torch.no_grad():
        names = [next(iter(shortcut_loss(generator, data, condition, rng=rng).parts)) for _ in range(100)]
        assert 15 <= sum(name.startswith("consistency/") for name in names) <= 36
        always = Shortcut(consistency_probability=1.0, guided_probability=0.0, consistency_weight=3.0)
        weighted = shortcut_loss(generator, data, condition, rng=seeded(2), options=always)
        rng = seeded(2)
        torch.rand(2, generator=rng)
        torch.testing.assert_close(weighted.total, 3 * consistency_loss(generator, data, condition, rng=rng).total)
        never = Shortcut(consistency_probability=0.0)
        plain = shortcut_loss(generator, data, condition, rng=seeded(2), options=never)
        rng = seeded(2)
        torch.rand(2, generator=rng)
        torch.testing.assert_close(plain.total, flow_matching_loss(generator, data, condition, rng=rng).total)
    assert options.guidance.strength == 2


@pytest.mark.parametrize(
    "options", [{"consistency_probability": 1.5}, {"guided_probability": -0.1}, {"consistency_weight": -1.0}]
)
def test_wrong_options_are_refused(options) -> None:
    with pytest.raises(ValueError, match="probabilities must be in"):
        Shortcut(**options)
