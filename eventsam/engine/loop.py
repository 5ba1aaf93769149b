"""The one loop: fit() trains a task on a stream of batches, evaluate() measures it; both know only Task and Run."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eventsam import checkpoint
from eventsam.checkpoint import CheckpointWriteError, LocalStorage, Storage, Writer
from eventsam.engine.budget import Budget, Monitor
from eventsam.engine.evaluation import evaluate, summarize, to_device
from eventsam.engine.run import LOOK_UP_S, Run, Status
from eventsam.engine.step import Meter, Stepper
from eventsam.optim import AdamW
from eventsam.tasks.task import Batch, Task

log = logging.getLogger(__name__)

Batches = Callable[[int], Iterable[Mapping[str, Any]]]
"""Position to the batches that follow it: this worker's share of each global batch."""

LOOK_UP_BATCHES = 4
"""After how many batches of a validation it looks up: clocks differ between workers, batches do not."""


class ReplaceWorkersError(RuntimeError):
    """A worker was told to go; the run was saved, and goes on from there when its workers are started again."""


class _EndedError(Exception):
    """Unwinds a fit that was asked to end."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status: Status = status


@dataclass(frozen=True)
class Summary:
    """How a fit ended; `metrics` are the last validation's, `checkpoint` is the folder of the last checkpoint."""

    status: Status
    step: int
    metrics: Mapping[str, float]
    best: float | None
    checkpoint: Path | None


@dataclass
class Fit:
    """One training run; `fit()` below is its front door."""

    task: Task
    batches: Batches
    validation: Callable[[], Iterable[Mapping[str, Any]]] | None
    optimizer_settings: AdamW
    budget: Budget
    monitor: Monitor | None
    run: Run
    recipe: Any
    catalog_hash: str
    identify: Callable[[Batch], list[str]]
    storage: Storage
    write_behind: bool
    accept_new_catalog: bool

    def __post_init__(self) -> None:
        self.task.to(self.run.device)
        self.optimizer = self.optimizer_settings.create(self.task, self.run.device)
        self.writer = Writer(self.storage, self.budget.keep_last, self.write_behind)
        self.step = 0
        self.best: float | None = None
        self.best_step: int | None = None
        self.validated_step: int | None = None
        self.saved_step: int | None = None
        self.saved_at = time.monotonic()
        self.look_every = 1
        self.metrics: dict[str, float] = {}
        self.meter = Meter()

    def __call__(self) -> Summary:
        """Train to the end of the budget, or until the run is asked to stop."""
        try:
            self._restore()
            if self.run.rank == 0:
                best = self._best_record() if self.best_step is not None else None
                self.writer.start(checkpoint.expected_bytes(self.task, self.optimizer), best)
            self._raise_failed_write()
            model = self.run.wrap(self.task)
            if self.budget.compile:
                model = torch.compile(model)  # type: ignore[assignment]
            self.stepper = Stepper(
                model, self.optimizer, self.optimizer_settings, self.budget, self.run.device, self._where
            )
            self.task.train()
            status = self._train()
            self._save()
        finally:
            self.writer.join()
        self._raise_failed_write()
        name = self.writer.last
        return Summary(status, self.step, self.metrics, self.best, self.storage.folder(name) if name else None)

    def _train(self) -> Status:
        try:
            if self.step:
                self._validate_if_due()  # a stop came before it
            stream = iter(self.batches(self.step * self.budget.global_batch_size))
            while self.step < self.budget.num_steps and not self._out_of_patience():
                self._step(stream)
                if self.step % self.budget.log_every == 0 or self._finished:
                    self._log()
                if self.step % self.look_every == 0 and not self._finished:
                    self._hear()
                self._validate_if_due()
                if not self._finished and self._checkpoint_due():
                    self._save()
        except _EndedError as ended:
            return ended.status
        return "finished"

    @property
    def _finished(self) -> bool:
        return self.step == self.budget.num_steps

    def _step(self, stream: Iterator[Mapping[str, Any]]) -> None:
        asked = time.perf_counter()
        host_batch = next(stream, None)
        if host_batch is None:
            raise RuntimeError(f"the data ended at step {self.step} of {self.budget.num_steps}")
        arrived = time.perf_counter()
        losses = self.stepper(to_device(host_batch, self.run.device), self.step)
        self.step += 1
        self.task.after_step(self.step / self.budget.num_steps)
        self.meter.add(losses, arrived - asked, time.perf_counter() - arrived)

    def _where(self, batch: Batch) -> str:
        self.writer.join()
        return (
            f"at step {self.step} on rank {self.run.rank}; samples: {', '.join(self.identify(batch))}. "
            f"The last good checkpoint is {self.writer.last or self.storage.newest() or 'none'}"
        )

    def _restore(self) -> None:
        folder = self.run.restore()
        if folder is None:
            return
        state = checkpoint.restore(
            folder, self.task, self.optimizer, self.recipe, self.catalog_hash,
            accept_new_catalog=self.accept_new_catalog,
        )  # fmt: skip
        self.step, self.best, self.metrics = state.step, state.best, dict(state.metrics)
        self.best_step, self.validated_step = state.best_step, state.validated_step
        self.saved_step, self.writer.last = state.step, folder.name
        log.info("going on from %s at step %d", folder, self.step)

    def _raise_failed_write(self) -> None:
        """Raise what the first worker could not write, on all workers at the same step."""
        error = self.writer.error  # once: the writer may fail while the others answer
        failed = self.run.gather(np.array([float(error is not None)]))
        if error is not None:
            raise error
        if any(float(value[0]) for value in failed):
            raise CheckpointWriteError(f"the first worker could not write to {self.storage.location}")

    def _hear(self) -> None:
        """Look up: raise a failed write; save if that or an end is asked, then end, except at the last step.

        At the last step there is nothing to interrupt: what is left is the last validation.
        """
        self._raise_failed_write()
        wish = self.run.stopping()
        if not wish:
            return
        self._save()
        if wish in ("save", "replace") or self._finished:
            self.writer.join()
        if wish == "save" or self._finished:
            return
        if wish == "replace":
            self._raise_failed_write()
            raise ReplaceWorkersError(f"a worker has to go; the run was saved at step {self.step}")
        raise _EndedError("preempted" if wish == "preempted" else "interrupted")

    def _heard(self, batches: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yield a validation's batches and look up in between: it may last longer than a machine's notice does."""
        for number, batch in enumerate(batches, 1):
            yield batch
            if number % LOOK_UP_BATCHES == 0:
                self._hear()

    def _report(self, record: Mapping[str, float]) -> None:
        """Hand a record on; where it cannot be written, the run ends as if a checkpoint could not."""
        try:
            self.run.report(record)
        except OSError as error:
            self.writer.fail(f"the record of step {self.step} could not be written", error)

    def _out_of_patience(self) -> bool:
        """Whether the best validation lies too far back: decided by the first worker, told to all."""
        if not self.budget.patience or self.step % self.budget.validate_every:
            return False
        best_step = self.step if self.best_step is None else self.best_step
        num_stale = (self.step - best_step) // self.budget.validate_every
        spent = np.array([float(num_stale >= self.budget.patience)])
        if not self.run.gather(spent)[0][0]:
            return False
        log.info("no new best for %d validations: stopping at step %d", num_stale, self.step)
        self._report({"step": float(self.step), "stopped_early": 1.0})
        return True

    def _log(self) -> None:
        names, values = self.meter.drain()
        reduced = np.mean(np.stack(self.run.gather(values)), axis=0)
        record = {
            "step": float(self.step),
            "samples": float(self.step * self.budget.global_batch_size),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **dict(zip(names, reduced.tolist(), strict=True)),
            **self.task.gauges(),
        }
        self._report(record)
        step_s = max(record["step_s"] + record["data_wait_s"], 1e-6)
        self.look_every = max(1, min(self.budget.log_every, int(LOOK_UP_S / step_s)))

    def _validate_if_due(self) -> None:
        """Validate where the budget says so, once per step."""
        due = self.budget.validate_every and self.step % self.budget.validate_every == 0
        if self.validation is None or self.validated_step == self.step:
            return
        if not due and not self._finished:
            return
        self.metrics = summarize(evaluate(self.task, self._heard(self.validation()), self.run))
        self.task.train()
        self.validated_step = self.step
        self._report({"step": float(self.step)} | {f"val/{k}": v for k, v in self.metrics.items()})
        self._keep_best()

    def _keep_best(self) -> None:
        if self.monitor is None:
            return
        if self.monitor.metric not in self.metrics:
            raise KeyError(f"monitor {self.monitor.metric!r} is not among the metrics: {', '.join(self.metrics)}")
        value = self.metrics[self.monitor.metric]
        if not self.monitor.better(value, self.best):
            return
        self.best, self.best_step, self.saved_step = value, self.step, None
        self._save()
        self._report({"step": float(self.step), f"best/{self.monitor.metric}": value})

    def _best_record(self) -> dict[str, Any]:
        return {"step": self.best_step, self.monitor.metric if self.monitor else "value": self.best}

    def _checkpoint_due(self) -> bool:
        """Say whether the budget asks for a checkpoint; by the clock, the first worker alone decides, and writes."""
        by_step = self.budget.checkpoint_every and self.step % self.budget.checkpoint_every == 0
        minutes = (time.monotonic() - self.saved_at) / 60
        return bool(by_step) or 0 < self.budget.checkpoint_minutes <= minutes

    def _save(self) -> None:
        """Hand a copy of the run's state to the writer, unless this step was saved."""
        if self.saved_step == self.step:
            return
        self.saved_step, self.saved_at = self.step, time.monotonic()
        if self.run.rank != 0:
            return
        state = checkpoint.State(
            step=self.step,
            position=self.step * self.budget.global_batch_size,
            best=self.best,
            best_step=self.best_step,
            validated_step=self.validated_step,
            recipe=self.recipe,
            catalog_hash=self.catalog_hash,
            metrics=self.metrics,
            num_workers=self.run.world_size,
        )
        best = self._best_record() if self.best_step == self.step else None
        self.writer.submit(checkpoint.snapshot(self.task, self.optimizer, state), best)


def fit(
    task: Task,
    batches: Batches,
    *,
    optimizer: AdamW,
    budget: Budget,
    run: Run,
    folder: Path,
    recipe: Any = None,
    catalog_hash: str = "",
    validation: Callable[[], Iterable[Mapping[str, Any]]] | None = None,
    monitor: Monitor | None = None,
    identify: Callable[[Batch], list[str]] = lambda batch: [],
    storage: Storage | None = None,
    write_behind: bool = False,
    accept_new_catalog: bool = False,
) -> Summary:
    """Train `task`, going on from the run's checkpoint where there is one.

    Args:
        batches: position to the batches that follow it (this worker's share), tensors or arrays by sample key.
        folder: where checkpoints are written (`step_*` folders and `best.json`) where no `storage` is given.
        recipe: the spec that a checkpoint records; going on with another one is refused.
        identify: batch to sample ids, for error messages.
        storage: where checkpoints are kept.
        write_behind: write checkpoints in a thread while training goes on.
        accept_new_catalog: go on although the catalog's content changed since the checkpoint.

    Raises:
        NonFiniteLossError: the loss or gradient is not finite; nothing was stepped or saved since.
        CheckpointWriteError: the storage cannot be written; found before the first step, or soon after it failed.
    """
    args = (task, batches, validation, optimizer, budget, monitor, run, recipe, catalog_hash, identify)
    return Fit(*args, storage or LocalStorage(folder), write_behind, accept_new_catalog)()
