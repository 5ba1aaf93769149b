"""The optimiser's groups and its schedule."""

import pytest
import torch
from torch import nn

from eventsam.optim import AdamW


def test_weight_decay_spares_vectors() -> None:
    optimizer = AdamW(weight_decay=0.1).create(nn.Linear(3, 2), torch.device("cpu"))
    assert [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups] == [(1, 0.1), (1, 0.0)]


def test_frozen_parameters_are_left_out() -> None:
    module = nn.Linear(3, 2)
    module.weight.requires_grad_(False)
    optimizer = AdamW().create(module, torch.device("cpu"))
    assert [group["params"] for group in optimizer.param_groups] == [[module.bias]]


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no trainable parameter"):
        AdamW().create(nn.Linear(1, 1).requires_grad_(False), torch.device("cpu"))


def test_schedule_warms_up_and_ends_at_its_share() -> None:
    settings = AdamW(learning_rate=1.0, warmup_share=0.1, final_share=0.01)
    rates = [settings.learning_rate_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates == [*sorted(rates[:10]), *sorted(rates[10:], reverse=True)]
    assert settings.learning_rate_at(100, 100) == pytest.approx(0.01)
