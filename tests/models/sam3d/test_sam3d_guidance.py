"""Guidance: the formula per modality, the cheap unconditional branch, and conditions that are dropped or never are."""

import pytest
import torch
from sam3d_oracle import random_generator, random_inputs
from torch import Tensor

from eventsam.models.sam3d.guidance import Guidance, guided_velocity, read_condition, unconditional_velocity
from eventsam.models.sam3d.latents import LATENTS, SHAPE

EXACT = dict(rtol=1e-9, atol=1e-11)


def test_no_condition_equals_a_condition_of_zeros() -> None:
    generator = random_generator()
    latents, time, step, condition = random_inputs()
    expected = generator(latents, time, step, 0 * condition)
    for name, velocity in unconditional_velocity(generator, latents, time, step).items():
        torch.testing.assert_close(velocity, expected[name], **EXACT)
    alone = unconditional_velocity(generator, latents, time, step, (SHAPE,))
    assert list(alone) == [SHAPE]
    torch.testing.assert_close(alone[SHAPE], expected[SHAPE], **EXACT)


@pytest.mark.parametrize("modalities", [(SHAPE,), ("scale", SHAPE), LATENTS])
def test_only_the_chosen_modalities_are_guided(modalities) -> None:
    generator = random_generator()
    latents, time, step, condition = random_inputs()
    with_it, without = (generator(latents, time, step, condition * on) for on in (1, 0))
    guided = guided_velocity(generator, latents, time, step, condition, Guidance(2.0, modalities=modalities))
    for name in LATENTS:
        expected = 3 * with_it[name] - 2 * without[name] if name in modalities else with_it[name]
        torch.testing.assert_close(guided[name], expected, **EXACT)


def test_events_are_part_of_the_condition() -> None:
    generator = random_generator()
    latents, time, step, condition = random_inputs()

    def inject(index: int, tokens: Tensor) -> Tensor:
        return tokens + 1

    guided = guided_velocity(generator, latents, time, step, condition, Guidance(2.0), inject=inject)
    with_events = generator(latents, time, step, condition, inject=inject)
    expected = 3 * with_events[SHAPE] - 2 * generator(latents, time, step, 0 * condition)[SHAPE]
    torch.testing.assert_close(guided[SHAPE], expected, **EXACT)


def test_guidance_acts_in_its_interval() -> None:
    guidance = Guidance(7.0, (0, 500))
    assert [guidance.acts_at(time) for time in (0.0, 0.3, 0.5, 0.501, 1.0)] == [True, True, True, False, False]
    assert not Guidance(0.0).acts_at(0.2)


def dropped_samples(generator, **options) -> list[bool]:
    """Which of 400 samples lost their condition."""
    condition = torch.ones(400, 2, generator.preset.condition_width, dtype=torch.float64)
    read = read_condition(generator, condition, None, 0.1, torch.Generator().manual_seed(0))
    for block in read:
        assert torch.equal(block.tokens, read[0].tokens)
    return (read[0].tokens == 0).flatten(1).all(dim=1).tolist()


def test_a_tenth_of_the_conditions_is_dropped_while_the_generator_learns() -> None:
    assert 20 < sum(dropped_samples(random_generator().train())) < 60


def test_nothing_is_dropped_in_eval_or_when_frozen() -> None:
    frozen_by_hand = random_generator().train()
    frozen_by_hand.requires_grad_(False)
    for generator in (random_generator().eval(), random_generator().freeze().train(), frozen_by_hand):
        assert sum(dropped_samples(generator)) == 0


def test_what_is_injected_is_dropped_with_the_rest() -> None:
    generator = random_generator().train()
    condition = torch.ones(50, 2, generator.preset.condition_width, dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    read = read_condition(generator, condition, lambda index, tokens: tokens + 1, 0.5, rng)
    gone = (read[0].tokens == 0).flatten(1).all(dim=1)
    assert 0 < gone.sum() < 50
    for index, block in enumerate(read):
        assert torch.equal(block.tokens[~gone], 2 + index + 0 * block.tokens[~gone])
        assert block.tokens[gone].abs().max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ("shpe",)}, "unknown latent 'shpe'; did you mean 'shape'"),
        ({"modalities": ()}, "needs a modality"),
        ({"strength": -1.0}, "strength >= 0"),
        ({"interval": (500.0, 0.0)}, "interval in order"),
    ],
)
def test_wrong_guidance_is_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        Guidance(**options)
