"""Early stopping: after so many validations without a new best, decided by the first worker for all."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventsam.engine import Budget, LocalRun, Monitor, Summary, fit
from eventsam.metrics.state import MetricState, PerSample
from eventsam.optim import AdamW
from eventsam.tasks.task import Batch, Task


class Peaked(Task):
    """Its metric is best at the second validation and falls from there."""

    reads = ("x",)

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1)
        self.steps = 0

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.line(batch["x"]).square().mean()}

    def after_step(self, progress: float) -> None:
        self.steps = round(progress * 40)

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        return {"score": PerSample(batch["sample_index"].numpy(), np.full(4, -abs(self.steps - 8.0)))}


def batches(position: int) -> Iterator[dict[str, np.ndarray]]:
    while True:
        yield {"x": np.ones((4, 2), np.float32), "sample_index": np.arange(4)}


def run(folder: Path, patience: int, place: LocalRun | None = None) -> tuple[Summary, LocalRun]:
    torch.manual_seed(0)
    place = place or LocalRun(folder)
    budget = Budget(num_samples=160, global_batch_size=4, validate_every=4, log_every=1, patience=patience)
    summary = fit(
        Peaked(), batches, optimizer=AdamW(), budget=budget, run=place, folder=folder,
        validation=lambda: [next(batches(0))], monitor=Monitor("score"),
    )  # fmt: skip
    return summary, place


def test_a_run_ends_when_its_patience_does(tmp_path: Path) -> None:
    summary, place = run(tmp_path, 3)
    assert (summary.status, summary.step, summary.best) == ("finished", 8 + 3 * 4, 0.0)
    assert place.records[-1] == {"step": 20.0, "stopped_early": 1.0}
    # Started again, it stays where it ended.
    again, place = run(tmp_path, 3)
    assert again.step == 20
    assert not [record for record in place.records if "loss" in record]


def test_without_patience_the_budget_decides(tmp_path: Path) -> None:
    assert run(tmp_path, 0)[0].step == 40


def test_patience_without_validations_is_refused() -> None:
    with pytest.raises(ValueError, match="patience 2 counts validations, but validate_every is 0"):
        Budget(num_samples=1, patience=2)


class Second(LocalRun):
    """The second of two workers, whose own count of validations says something else than the first's."""

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return the first worker's array, which says 0 where this one's is a flag, and this one's."""
        return [np.zeros_like(values), values] if values.shape == (1,) else [values, values]


def test_the_first_workers_word_counts(tmp_path: Path) -> None:
    summary, _ = run(tmp_path, 3, Second(tmp_path, world_size=2))
    assert summary.step == 40
