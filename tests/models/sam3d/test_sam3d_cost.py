"""Costs counted without numbers: the released size, and what checkpointing and freezing change."""

import dataclasses

import pytest
import torch
from sam3d_oracle import SMALLEST

from eventsam.models.sam3d.cost import Cost, generator_cost, step_cost
from eventsam.models.sam3d.presets import PRESETS


@pytest.mark.slow
def test_the_released_generator_fits_and_has_its_size() -> None:
    cost = generator_cost(PRESETS["sam3d"], batch=4, frozen=True)
    assert cost.num_parameters == pytest.approx(0.96e9, rel=1e-3)
    assert cost.num_trained == 0
    assert 1.9e9 < cost.peak_bytes < 40e9


def test_a_linear_layer_costs_what_it_must() -> None:
    cost = step_cost(
        lambda: torch.nn.Linear(300, 200, bias=False), lambda layer: layer(torch.zeros(50, 300)).square().sum()
    )
    product = 2 * 50 * 300 * 200
    assert cost == Cost(60000, 60000, product, 2 * product, cost.peak_bytes)
    # The weight, its gradient, the input and a few outputs.
    assert 2 * 240000 + 60000 + 40000 <= cost.peak_bytes <= 2 * 240000 + 60000 + 5 * 40000


def test_checkpointing_trades_arithmetic_for_memory() -> None:
    kept, again = (generator_cost(SMALLEST, 4, checkpointing=option, frozen=True) for option in (False, True))
    # One of three blocks at a time, beside the weights and each block's input.
    assert again.peak_bytes < 2 / 3 * kept.peak_bytes
    assert kept.step_flops + 0.9 * kept.forward_flops < again.step_flops <= kept.step_flops + kept.forward_flops
    assert again.forward_flops == kept.forward_flops


def test_flops_grow_with_the_batch_and_freezing_saves_the_weights_gradients() -> None:
    preset = dataclasses.replace(SMALLEST, num_blocks=1)
    one, two = (generator_cost(preset, batch, checkpointing=False) for batch in (1, 2))
    assert two.forward_flops == pytest.approx(2 * one.forward_flops, rel=0.02)
    frozen = generator_cost(preset, 2, checkpointing=False, frozen=True)
    assert frozen.forward_flops == two.forward_flops and frozen.step_flops < 0.85 * two.step_flops
