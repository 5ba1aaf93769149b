"""The explosion rule: what is an explosion, what is not, and how a fit stops at one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eventsam import checkpoint
from eventsam.engine import Budget, ExplodingGradientError, LocalRun, fit
from eventsam.faults.guard import MIN_STEPS, GradientGuard
from eventsam.optim import AdamW
from eventsam.tasks.task import Batch, Task


def guard_after(norms: list[float], max_ratio: float = 10.0, floor: float = 1.0) -> GradientGuard:
    guard = GradientGuard(max_ratio, floor)
    for norm in norms:
        assert guard.judge(norm) is None
    return guard


def test_a_leap_above_the_median_is_an_explosion_and_does_not_move_it() -> None:
    guard = guard_after([2.0] * MIN_STEPS)
    for _ in range(3 * MIN_STEPS):
        reason = guard.judge(21.0)
        assert reason is not None
        assert "gradient norm 21 is 10.5 times its running median 2" in reason
    assert guard.judge(19.0) is None


def test_a_slow_rise_is_no_explosion() -> None:
    guard_after([1.02**step for step in range(400)])


def test_what_clipping_leaves_alone_is_no_explosion() -> None:
    assert guard_after([1e-9] * MIN_STEPS).judge(0.9) is None
    assert guard_after([1e-9] * MIN_STEPS).judge(1.1) is not None


def test_the_first_steps_are_not_judged_and_zero_judges_nothing() -> None:
    guard_after([1.0] * (MIN_STEPS - 1) + [1e6])
    guard_after([1.0] * 100 + [1e6], max_ratio=0.0)


class Spiked(Task):
    """A line whose loss is multiplied for one sample."""

    reads = ("x",)

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(4, 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        factor = 1e6 if bool((batch["sample_index"] == 245).any()) else 1.0
        return {"loss": factor * (self.line(batch["x"]) - 1).square().mean()}


def batches(position: int) -> Iterator[dict[str, np.ndarray]]:
    while True:
        rows = np.arange(position, position + 8)
        yield {"x": np.random.default_rng(position).normal(size=(8, 4)).astype(np.float32), "sample_index": rows}
        position += 8


def test_a_fit_stops_before_the_exploded_step_is_taken(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = Spiked()
    with pytest.raises(ExplodingGradientError, match=r"times its running median .* at step 30 on rank 0") as caught:
        fit(
            task, batches, optimizer=AdamW(), run=LocalRun(tmp_path), folder=tmp_path,
            budget=Budget(num_samples=400, global_batch_size=8, checkpoint_every=30),
            identify=lambda batch: ["s"],
        )  # fmt: skip
    assert caught.value.numbers["gradient_norm"] > 1e3
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    kept = checkpoint.read_state(newest)
    assert kept.step == 30
    saved = Spiked()
    checkpoint.load_task(newest, saved)
    assert torch.equal(saved.line.weight, task.line.weight)
