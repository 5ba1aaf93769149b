"""The memory of a step, against what can be counted by hand."""

import torch
from torch import nn

from eventsam.models.checkpointing import checkpointed
from eventsam.models.step_memory import StepMemory, estimate_step

WIDTH, ROWS, DEPTH = 64, 10_000, 8


def chain(checkpointing: bool, frozen: bool = False) -> StepMemory:
    def build() -> nn.ModuleList:
        layers = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)) for _ in range(DEPTH)
        )
        layers.requires_grad_(not frozen)
        layers[0].requires_grad_(True)
        return layers

    def loss(layers: nn.ModuleList) -> torch.Tensor:
        hidden = torch.randn(ROWS, WIDTH)
        for layer in layers:
            hidden = checkpointed(layer, hidden) if checkpointing else layer(hidden)
        return hidden.square().mean()

    return estimate_step(build, loss)


def test_what_a_plain_step_holds() -> None:
    memory = chain(checkpointing=False)
    weights = DEPTH * (2 * 4 * WIDTH * WIDTH + 5 * WIDTH) * 4
    assert (memory.weights, memory.gradients, memory.optimizer) == (weights, weights, 2 * weights)
    row = ROWS * WIDTH * 4
    # Each layer keeps its input and both sides of the activation function.
    kept = DEPTH * (1 + 4 + 4) * row
    assert kept < memory.peak < 1.3 * kept + 4 * weights
    assert "peak" in str(memory) and "GB" in str(memory)


def test_checkpointing_keeps_the_inputs_alone() -> None:
    row = ROWS * WIDTH * 4
    assert chain(checkpointing=True).peak < DEPTH * row + 16 * row < 0.5 * chain(checkpointing=False).peak


def test_frozen_layers_have_no_gradients() -> None:
    memory = chain(checkpointing=True, frozen=True)
    assert memory.gradients == memory.weights // DEPTH
