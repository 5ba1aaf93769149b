"""The loop: exact resume, accumulation, what is logged, and how it stops."""

import copy
import dataclasses
import errno
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from eventsam import checkpoint
from eventsam.checkpoint import CheckpointWriteError, LocalStorage, Snapshot
from eventsam.engine import (
    Budget,
    LocalRun,
    Monitor,
    NonFiniteLossError,
    ReplaceWorkersError,
    Summary,
    Wish,
    evaluate,
    fit,
    summarize,
)
from eventsam.metrics.state import MetricState, PerSample
from eventsam.optim import AdamW
from eventsam.spec import Spec, spec
from eventsam.tasks.task import Batch, Task

SIZE = 8


class Regress(Task):
    """Fit a line through noise, with dropout, so that the random state matters."""

    reads = ("x",)
    frozen = ("fixed",)

    def __init__(self, width: int = 4, spoil_at: int = -1) -> None:
        super().__init__()
        self.line, self.fixed = nn.Linear(width, 1), nn.Sequential(nn.Linear(width, width), nn.Dropout(0.5))
        self.dropout, self.spoil_at = nn.Dropout(0.1), spoil_at
        self.freeze()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        error = self.line(self.dropout(self.fixed(batch["x"]))) - batch["x"].sum(dim=1, keepdim=True)
        loss = error.square().mean()
        spoilt = bool((batch["sample_index"] == self.spoil_at).any())
        return {"loss": loss * torch.nan if spoilt else loss, "absolute": error.abs().mean()}

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        error = (self.line(self.fixed(batch["x"])) - batch["x"].sum(dim=1, keepdim=True)).square()[:, 0]
        return {"error": PerSample(batch["sample_index"].numpy(), error.numpy())}


def batches(position: int) -> Iterator[dict[str, np.ndarray]]:
    """Samples of a fixed sequence: sample i is drawn from seed i."""
    while True:
        indices = np.arange(position, position + SIZE)
        x = np.stack([np.random.default_rng(i).normal(size=4) for i in indices]).astype(np.float32)
        yield {"x": x, "sample_index": indices}
        position += SIZE


def recipe(**arguments: object) -> Spec:
    return spec(Budget, num_samples=96, **arguments)  # type: ignore[arg-type, return-value]


def run_fit(folder: Path, budget: Budget, *, task: Task | None = None, run: LocalRun | None = None) -> LocalRun:
    torch.manual_seed(0)
    run = run or LocalRun(folder)
    fit(
        task or Regress(),
        batches,
        optimizer=AdamW(learning_rate=0.01),
        budget=budget,
        run=run,
        folder=folder,
        recipe=recipe(),
        catalog_hash="c",
        validation=lambda: [next(batches(0)), next(batches(SIZE))],
        monitor=Monitor("error", "min"),
        identify=lambda batch: [f"s{int(index)}" for index in batch["sample_index"]],
    )
    return run


BUDGET = Budget(num_samples=96, global_batch_size=SIZE, log_every=1, checkpoint_every=5, validate_every=4)


class Interrupted(LocalRun):
    """Asks to stop at a step."""

    def stopping(self) -> bool:
        return self.records[-1]["step"] >= 7


def losses(run: LocalRun) -> dict[int, float]:
    return {int(record["step"]): record["loss"] for record in run.records if "loss" in record}


def test_resume_repeats_the_uninterrupted_run_exactly(tmp_path: Path) -> None:
    whole = losses(run_fit(tmp_path / "whole", BUDGET))
    first = run_fit(tmp_path / "cut", BUDGET, run=Interrupted(tmp_path / "cut"))
    assert max(losses(first)) == 7
    second = run_fit(tmp_path / "cut", BUDGET)
    assert min(losses(second)) == 8
    assert losses(first) | losses(second) == whole


def test_resume_after_a_kill_repeats_from_the_checkpoint(tmp_path: Path) -> None:
    whole = losses(run_fit(tmp_path / "whole", BUDGET))
    run_fit(tmp_path / "cut", BUDGET, run=Interrupted(tmp_path / "cut"))
    # A kill leaves the last periodic checkpoint, and perhaps a torn one.
    torn = checkpoint.folder_of(tmp_path / "cut", 7)
    (torn / "model.safetensors").write_bytes(b"torn")
    again = losses(run_fit(tmp_path / "cut", BUDGET))
    assert min(again) == 6
    assert all(whole[step] == loss for step, loss in again.items())


def test_a_stop_at_the_last_step_changes_nothing(tmp_path: Path) -> None:
    class StoppedAtTheEnd(LocalRun):
        """Asks to stop when all is done."""

        def stopping(self) -> bool:
            return self.records[-1]["step"] == BUDGET.num_steps

    whole, stopped = run_fit(tmp_path / "whole", BUDGET), StoppedAtTheEnd(tmp_path / "stopped")
    run_fit(tmp_path / "stopped", BUDGET, run=stopped)
    validations = [[record for record in run.records if "val/error" in record] for run in (whole, stopped)]
    assert validations[0] == validations[1]


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    run_fit(tmp_path, BUDGET)
    assert losses(run_fit(tmp_path, BUDGET)) == {}


def test_micro_batches_give_the_same_gradient(tmp_path: Path) -> None:
    class Plain(Regress):
        """Without dropout, whose draws depend on the split."""

        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(0.0)

    torch.manual_seed(0)
    first = Plain()
    one = run_fit(tmp_path / "1", BUDGET, task=copy.deepcopy(first))
    four = run_fit(tmp_path / "4", Budget(**{**vars(BUDGET), "micro_batches": 4}), task=first)
    assert losses(four) == pytest.approx(losses(one), rel=1e-4)


def test_records_say_what_a_person_asks(tmp_path: Path) -> None:
    record = run_fit(tmp_path, BUDGET).records[0]
    assert record["samples"] == SIZE
    assert {"loss", "absolute", "gradient_norm", "learning_rate", "data_wait_s", "step_s"} <= record.keys()


def test_nan_stops_with_step_and_samples_and_keeps_the_last_good(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(NonFiniteLossError, match=r"at step 6 .*s48, s49.*step_000000005"):
        run_fit(tmp_path, BUDGET, task=Regress(spoil_at=50))
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert checkpoint.read_state(newest).step == 5
    assert torch.isfinite(safetensors.torch.load_file(newest / "model.safetensors")["line.weight"]).all()


def test_frozen_parts_stay_in_eval_mode_and_out_of_the_checkpoint(tmp_path: Path) -> None:
    task = Regress()
    run_fit(tmp_path, BUDGET, task=task)
    task.train()
    assert task.dropout.training
    assert not task.fixed.training
    assert not any(parameter.requires_grad for parameter in task.fixed.parameters())
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert set(safetensors.torch.load_file(newest / "model.safetensors")) == {"line.weight", "line.bias"}


def test_best_checkpoint_is_kept_beside_the_last(tmp_path: Path) -> None:
    run = run_fit(tmp_path, BUDGET)
    best = min(record["val/error"] for record in run.records if "val/error" in record)
    assert f"{best}" in (tmp_path / "best.json").read_text()
    assert len(list(tmp_path.glob("step_*"))) <= BUDGET.keep_last + 1


def test_a_metric_that_is_no_number_is_never_the_best() -> None:
    assert not Monitor("error", "min").better(float("nan"), None)
    assert not Monitor("error").better(float("inf"), 0.5)
    assert Monitor("error", "min").better(0.5, None)


def test_unknown_monitor_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="monitor 'viou' is not among the metrics: error"):
        fit(
            Regress(),
            batches,
            optimizer=AdamW(),
            budget=BUDGET,
            run=LocalRun(),
            folder=tmp_path,
            validation=lambda: [next(batches(0))],
            monitor=Monitor("viou"),
        )


def test_evaluation_counts_a_repeated_sample_once() -> None:
    task = Regress()
    once = summarize(evaluate(task, [next(batches(0))], LocalRun()))
    assert summarize(evaluate(task, [next(batches(0)), next(batches(0))], LocalRun())) == once


def test_evaluation_without_batches_is_refused() -> None:
    with pytest.raises(ValueError, match="no batch"):
        evaluate(Regress(), [], LocalRun())


def test_bfloat16_trains(tmp_path: Path) -> None:
    run = run_fit(tmp_path / "bfloat16", Budget(**{**vars(BUDGET), "precision": "bfloat16"}))
    exact = run_fit(tmp_path / "exact", BUDGET)
    assert losses(run)[1] == pytest.approx(losses(exact)[1], rel=0.05)
    assert losses(run) != losses(exact)


class Asked(LocalRun):
    """Is asked for something once, at a step."""

    wish: Wish = False
    at_step: int = 0

    def stopping(self) -> Wish:
        return self.wish if self.records[-1]["step"] == self.at_step else False


def asked(folder: Path, wish: Wish, at_step: int) -> Asked:
    run = Asked(folder)
    run.wish, run.at_step = wish, at_step
    return run


def test_a_preempted_run_says_so_and_goes_on(tmp_path: Path) -> None:
    whole = losses(run_fit(tmp_path / "whole", BUDGET))
    torch.manual_seed(0)
    run = asked(tmp_path / "cut", "preempted", 7)
    summary = fit_summary(run, tmp_path / "cut")
    assert (summary.status, summary.step) == ("preempted", 7)
    assert summary.checkpoint == checkpoint.folder_of(tmp_path / "cut", 7)
    assert losses(run) | losses(run_fit(tmp_path / "cut", BUDGET)) == whole


def fit_summary(run: LocalRun, folder: Path) -> Summary:
    return fit(
        Regress(), batches, optimizer=AdamW(learning_rate=0.01), budget=BUDGET, run=run, folder=folder,
        recipe=recipe(), catalog_hash="c", validation=lambda: [next(batches(0)), next(batches(SIZE))],
        monitor=Monitor("error", "min"),
    )  # fmt: skip


def test_a_wish_to_save_is_granted_at_once(tmp_path: Path) -> None:
    budget = dataclasses.replace(BUDGET, checkpoint_every=0, validate_every=0, keep_last=9)
    run_fit(tmp_path, budget, run=asked(tmp_path, "save", 7))
    assert LocalStorage(tmp_path).names() == ["step_000000007", "step_000000012"]


def test_a_worker_that_has_to_go_saves_and_raises(tmp_path: Path) -> None:
    with pytest.raises(ReplaceWorkersError, match="saved at step 7"):
        run_fit(tmp_path, BUDGET, run=asked(tmp_path, "replace", 7))
    assert losses(run_fit(tmp_path, BUDGET)).keys() == set(range(8, 13))


def test_checkpoints_by_the_clock(tmp_path: Path) -> None:
    quick = dataclasses.replace(BUDGET, checkpoint_every=0, validate_every=0, keep_last=20, checkpoint_minutes=1e-9)
    run_fit(tmp_path / "quick", quick)
    assert len(LocalStorage(tmp_path / "quick").names()) == 12
    run_fit(tmp_path / "slow", dataclasses.replace(quick, checkpoint_minutes=60.0))
    assert LocalStorage(tmp_path / "slow").names() == ["step_000000012"]


def test_a_validation_that_a_stop_came_before_is_made_up_for(tmp_path: Path) -> None:
    def validations(*runs: LocalRun) -> list[dict[str, float]]:
        return [record for run in runs for record in run.records if "val/error" in record or "best/error" in record]

    whole = run_fit(tmp_path / "whole", BUDGET)
    first = run_fit(tmp_path / "cut", BUDGET, run=asked(tmp_path / "cut", True, 8))  # validation is due at 8
    second = run_fit(tmp_path / "cut", BUDGET)
    assert validations(first, second) == validations(whole)
    pointers = [json.loads((tmp_path / name / "best.json").read_text()) for name in ("cut", "whole")]
    assert pointers[0]["step"] == pointers[1]["step"]
    assert pointers[0]["error"] == pointers[1]["error"]


class Noticed(LocalRun):
    """Is told, in a validation that is under way, that its machine is about to be taken."""

    validating: bool = False

    def stopping(self) -> Wish:
        return "preempted" if self.validating else False


@pytest.mark.parametrize(("at_step", "status"), [(4, "preempted"), (12, "finished")])
def test_a_notice_in_a_validation_is_heeded_at_once(tmp_path: Path, at_step: int, status: str) -> None:
    run, seen = Noticed(tmp_path), []

    def validation() -> Iterator[dict[str, np.ndarray]]:
        stream = batches(0)
        for number in range(1, 41):
            run.validating = run.records[-1]["step"] == at_step and number > 2
            seen.append((int(run.records[-1]["step"]), number, checkpoint.latest(tmp_path)))
            yield next(stream)
        run.validating = False

    torch.manual_seed(0)
    summary = fit(
        Regress(), batches, optimizer=AdamW(), budget=dataclasses.replace(BUDGET, checkpoint_every=0), run=run,
        folder=tmp_path, validation=validation, monitor=Monitor("error", "min"),
    )  # fmt: skip
    assert (summary.status, summary.step) == (status, at_step)
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert checkpoint.read_state(newest).step == at_step
    if status == "preempted":
        assert seen[-1][1] <= 8  # not to the end of the validation
        # What was not measured is measured when the run goes on.
        assert checkpoint.read_state(newest).validated_step != at_step
    else:
        assert seen[-1][:2] == (12, 40)
        assert seen[-1][2] == checkpoint.folder_of(tmp_path, 12)  # saved before the validation was over


def test_a_log_that_cannot_be_written_ends_the_run_and_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    class FullLog(LocalRun):
        """Its disk is full from step 7 on."""

        def report(self, record: Mapping[str, float]) -> None:
            if record["step"] >= 7:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().report(record)

    with pytest.raises(CheckpointWriteError, match=r"record of step 7 .*No space left.*checkpoint is step_000000005"):
        run_fit(tmp_path, BUDGET, run=FullLog(tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "least"), [("log_every", 0, 1), ("keep_last", 0, 1), ("num_samples", -1, 1), ("patience", -1, 0)]
)
def test_impossible_budgets_are_refused(name: str, value: int, least: int) -> None:
    with pytest.raises(ValueError, match=rf"budget.{name} is {value}, allowed: {least} or more"):
        Budget(**{"num_samples": 8, name: value})


def test_a_write_that_fails_ends_the_run_soon_and_keeps_the_last_good(tmp_path: Path) -> None:
    class Full(LocalStorage):
        """Has room for two checkpoints."""

        def commit(self, snapshot: Snapshot) -> str:
            if snapshot.step > 10:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().commit(snapshot)

    run = LocalRun(tmp_path)
    budget = dataclasses.replace(BUDGET, num_samples=8000, validate_every=0)
    with pytest.raises(CheckpointWriteError, match=r"step 15 .*No space left.*last good checkpoint is step_000000010"):
        fit(
            Regress(), batches, optimizer=AdamW(), budget=budget, run=run, folder=tmp_path, recipe=recipe(),
            storage=Full(tmp_path), write_behind=True,
        )  # fmt: skip
    assert 15 <= run.records[-1]["step"] < 100
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert checkpoint.read_state(newest).step == 10


def test_writing_behind_gives_the_same_run(tmp_path: Path) -> None:
    whole = run_fit(tmp_path / "whole", BUDGET)
    behind = LocalRun(tmp_path / "behind")
    torch.manual_seed(0)
    fit(
        Regress(), batches, optimizer=AdamW(learning_rate=0.01), budget=BUDGET, run=behind, folder=tmp_path / "behind",
        recipe=recipe(), catalog_hash="c", validation=lambda: [next(batches(0)), next(batches(SIZE))],
        monitor=Monitor("error", "min"), write_behind=True,
    )  # fmt: skip
    assert losses(behind) == losses(whole)
    for name in LocalStorage(tmp_path / "whole").names():
        first, second = (tmp_path / run / name / "model.safetensors" for run in ("whole", "behind"))
        assert first.read_bytes() == second.read_bytes()


def test_a_changed_catalog_is_refused_unless_accepted(tmp_path: Path) -> None:
    run_fit(tmp_path, BUDGET, run=Interrupted(tmp_path))
    settings: dict[str, Any] = {"optimizer": AdamW(), "budget": BUDGET, "folder": tmp_path, "recipe": recipe()}
    with pytest.raises(ValueError, match="trained on catalog c, the catalog now is d"):
        fit(Regress(), batches, run=LocalRun(tmp_path), catalog_hash="d", **settings)
    run = LocalRun(tmp_path)
    fit(Regress(), batches, run=run, catalog_hash="d", accept_new_catalog=True, **settings)
    assert run.records[0]["step"] == 8
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert checkpoint.read_state(newest).catalog_hash == "d"
