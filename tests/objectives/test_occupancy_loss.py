"""The occupancy loss: its formula, class balance, soft targets, extreme inputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.objectives.occupancy import OccupancyLoss


def grids(rate: float, num: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, 6, 6, 6, generator=generator), torch.rand(num, 6, 6, 6, generator=generator) < rate


def test_focal_is_the_mean_of_the_two_classes_focal_means() -> None:
    logits, target = grids(0.2)
    expected = []
    for x, t in zip(logits, target, strict=True):
        p = x.sigmoid()
        filled = ((1 - p) ** 2 * -p.log())[t].mean()
        empty = (p**2 * -(1 - p).log())[~t].mean()
        expected.append((filled + empty) / 2)
    torch.testing.assert_close(OccupancyLoss().parts(logits, target)["focal"], torch.stack(expected).mean())


def test_dice_formula_and_weights() -> None:
    logits, target = grids(0.3, num=1)
    p = logits.sigmoid()
    dice = 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
    parts = OccupancyLoss().parts(logits, target)
    torch.testing.assert_close(parts["dice"], dice)
    loss = OccupancyLoss(focal_weight=3.0, dice_weight=0.5)
    torch.testing.assert_close(loss(logits, target), 3 * parts["focal"] + 0.5 * parts["dice"])
    assert set(loss.with_parts(logits, target)) == {"loss", "focal", "dice"}


def test_few_filled_cells_weigh_as_much_as_the_many_empty_ones() -> None:
    target = torch.zeros(1, 8, 8, 8, dtype=torch.bool)
    target[0, 0, 0, :5] = True
    logits = torch.zeros(1, 8, 8, 8, requires_grad=True)
    OccupancyLoss(dice_weight=0.0)(logits, target).backward()
    pull_up, push_down = logits.grad[target].sum(), logits.grad[~target].sum()
    torch.testing.assert_close(pull_up, -push_down)


def test_bool_float_and_byte_targets_agree() -> None:
    logits, target = grids(0.3)
    values = [OccupancyLoss()(logits, target.to(dtype)) for dtype in (torch.bool, torch.float32, torch.uint8)]
    assert values[0] == values[1] == values[2]


def test_soft_targets_are_met_at_their_probability() -> None:
    target = torch.rand(1, 6, 6, 6).clamp(0.05, 0.95)
    logits = target.logit().requires_grad_()
    OccupancyLoss(dice_weight=0.0)(logits, target).backward()
    assert logits.grad.abs().max() < 1e-6
    assert OccupancyLoss(dice_weight=0.0)(target.logit(), target) < 1e-6


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([0.0, 1.0, 2.0]), st.sampled_from([0.0, 0.01, 0.5, 1.0]), st.sampled_from([0.0, 1.0, 1e4, 1e30]))
def test_loss_and_gradient_are_finite_whatever_the_input(gamma, rate, size) -> None:
    logits, target = grids(rate)
    logits = (logits * size).requires_grad_()
    loss = OccupancyLoss(gamma=gamma)(logits, target)
    loss.backward()
    assert loss.shape == ()
    assert loss.isfinite()
    assert loss >= 0
    assert logits.grad.isfinite().all()


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits, target = grids(0.3)
    assert OccupancyLoss()(logits.bfloat16(), target).dtype == torch.float32
    large = torch.full((1, 48, 48, 48), 8.0, dtype=torch.float16)
    assert OccupancyLoss()(large, torch.ones_like(large, dtype=torch.bool)) < 1e-2


def test_the_loss_of_a_batch_is_the_mean_of_its_parts() -> None:
    logits, target = grids(0.2, num=4)
    target[0] = False
    loss = OccupancyLoss()
    halves = (loss(logits[:2], target[:2]) + loss(logits[2:], target[2:])) / 2
    torch.testing.assert_close(loss(logits, target), halves)


def test_nan_is_not_hidden() -> None:
    logits, target = grids(0.2)
    logits[0, 0, 0, 0] = torch.nan
    assert OccupancyLoss()(logits, target).isnan()


def test_refusals() -> None:
    logits, target = grids(0.2)
    with pytest.raises(ValueError, match=r"logits have shape \(2, 6, 6, 6\), the target \(1, 6, 6, 6\)"):
        OccupancyLoss()(logits, target[:1])
    with pytest.raises(ValueError, match=r"gamma must be 0 or at least 1, got 0\.5"):
        OccupancyLoss(gamma=0.5)
    with pytest.raises(ValueError, match="min_rate"):
        OccupancyLoss(min_rate=0.0)
