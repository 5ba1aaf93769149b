"""The one loop: fit() trains a task on a stream of batches, evaluate() measures it; both know only Task and Run."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventsam import checkpoint
from eventsam.checkpoint import CheckpointWriteError, LocalStorage, Storage, Writer
from eventsam.faults.guard import GradientGuard
from eventsam.metrics.state import MetricState
from eventsam.optim import AdamW
from eventsam.tasks.task import Batch, Task

log = logging.getLogger(__name__)

Batches = Callable[[int], Iterable[Mapping[str, Any]]]
"""Position to the batches that follow it: this worker's share of each global batch."""

Status = Literal["finished", "interrupted", "preempted"]
"""How a fit ends: at the end of its budget, by a person's wish, or because its machine is about to be taken away."""

Wish = bool | Literal["save", "replace", "interrupted", "preempted"]
"""What is asked of a run: nothing (False), a checkpoint at once, that and other workers, or the status to end with
(True: "interrupted")."""

LOOK_UP_S = 1.0
"""How often a run looks up from its steps, to hear wishes and failed writes; all workers agree on the steps."""


class Run(Protocol):
    """What the engine needs of its surroundings."""

    device: torch.device
    rank: int
    world_size: int

    def wrap(self, task: Task) -> nn.Module:
        """Return the task ready for training on all workers (DDP), or the task itself."""

    def restore(self) -> Path | None:
        """Return the checkpoint to go on from."""

    def report(self, record: Mapping[str, float]) -> None:
        """Take a record of numbers, already reduced over workers; called on every worker."""

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return every worker's array (any number of rows), in rank order; called on every worker."""

    def stopping(self) -> "Wish":
        """Say whether somebody asked the run to stop, or to save at once; every worker gives the same answer."""


@dataclass
class LocalRun:
    """A run in this very process, for tests, notebooks and benchmarks."""

    folder: Path | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world_size: int = 1
    records: list[dict[str, float]] = field(default_factory=list)

    def wrap(self, task: Task) -> nn.Module:
        """Return the task itself."""
        return task

    def restore(self) -> Path | None:
        """Return the newest checkpoint in the run's folder."""
        return checkpoint.latest(self.folder) if self.folder else None

    def report(self, record: Mapping[str, float]) -> None:
        """Keep the record in memory."""
        self.records.append(dict(record))

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return the one worker's array."""
        return [values]

    def stopping(self) -> Wish:
        """Nobody asks."""
        return False


@dataclass(frozen=True)
class Budget:
    """How long a run is and how often it looks up, in optimiser steps unless said otherwise.

    `num_samples` counts samples over all workers; `micro_batches` splits a worker's batch for gradient accumulation;
    `validate_every` 0 validates at the end alone. A checkpoint is due every `checkpoint_every` steps and whenever
    `checkpoint_minutes` have passed since the last one; 0 switches either off. `patience` ends the run after that many
    validations in a row without a new best; 0 never does.
    """

    num_samples: int
    global_batch_size: int = 32
    micro_batches: int = 1
    log_every: int = 10
    validate_every: int = 0
    checkpoint_every: int = 200
    checkpoint_minutes: float = 0.0
    keep_last: int = 2
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    patience: int = 0

    def __post_init__(self) -> None:
        if self.patience < 0 or (self.patience and not self.validate_every):
            raise ValueError(
                f"patience {self.patience} counts validations, but validate_every is {self.validate_every}"
            )

    @property
    def num_steps(self) -> int:
        """Optimiser steps: the samples in whole global batches."""
        return -(-self.num_samples // self.global_batch_size)


class NonFiniteLossError(ValueError):
    """The loss or its gradient became NaN or infinite; the message names the step and the samples."""

    kind = "nonfinite"

    def __init__(self, message: str, numbers: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.numbers = dict(numbers or {})


class ExplodingGradientError(NonFiniteLossError):
    """The gradient's norm leapt far above its running median; nothing was stepped with it."""

    kind = "explosion"


class ReplaceWorkersError(RuntimeError):
    """A worker was told to go; the run was saved, and goes on from there when its workers are started again."""


@dataclass(frozen=True)
class Summary:
    """How a fit ended; `metrics` are the last validation's, `checkpoint` is the folder of the last checkpoint."""

    status: Status
    step: int
    metrics: Mapping[str, float]
    best: float | None
    checkpoint: Path | None


@dataclass(frozen=True)
class Monitor:
    """The validation metric that decides which checkpoint is best."""

    metric: str
    mode: Literal["max", "min"] = "max"

    def better(self, value: float, best: float | None) -> bool:
        """Say whether a value beats the best one so far."""
        if best is None:
            return True
        return value > best if self.mode == "max" else value < best


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
        self.guard = GradientGuard(self.optimizer_settings.explosion_ratio, self.optimizer_settings.clip_norm)
        self.writer = Writer(self.storage, self.budget.keep_last, self.write_behind)
        self.step = 0
        self.best: float | None = None
        self.best_step: int | None = None
        self.validated_step: int | None = None
        self.saved_step: int | None = None
        self.saved_at = time.monotonic()
        self.look_every = 1
        self.metrics: dict[str, float] = {}
        self.meter = _Meter()

    def __call__(self) -> Summary:
        """Train to the end of the budget, or until the run is asked to stop."""
        try:
            self._restore()
            if self.run.rank == 0:
                best = self._best_record() if self.best_step is not None else None
                self.writer.start(checkpoint.expected_bytes(self.task, self.optimizer), best)
            self._raise_failed_write()
            self.model = self.run.wrap(self.task)
            if self.budget.compile:
                self.model = torch.compile(self.model)  # type: ignore[assignment]
            self.task.train()
            if self.step:
                self._validate_if_due()
            status = self._train()
            self._save()
        finally:
            self.writer.join()
        self._raise_failed_write()
        name = self.writer.last
        return Summary(status, self.step, self.metrics, self.best, self.storage.folder(name) if name else None)

    def _train(self) -> Status:
        stream = iter(self.batches(self.step * self.budget.global_batch_size))
        while self.step < self.budget.num_steps and not self._out_of_patience():
            self._step(stream)
            # At the last step there is nothing to interrupt: what is left is the last validation.
            finished = self.step == self.budget.num_steps
            if self.step % self.budget.log_every == 0 or finished:
                self._log()
            wish = False if finished else self._hear()
            if wish in ("interrupted", "preempted"):
                return "preempted" if wish == "preempted" else "interrupted"
            self._validate_if_due()
            if not finished and self._checkpoint_due():
                self._save()
        return "finished"

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

    def _hear(self) -> Wish:
        """Look up about once a second: raise a failed write, save if asked to, return a wish to end."""
        if self.step % self.look_every:
            return False
        self._raise_failed_write()
        wish = self.run.stopping()
        if wish in ("save", "replace"):
            self._save()
            self.writer.join()
        if wish == "replace":
            self._raise_failed_write()
            raise ReplaceWorkersError(f"a worker has to go; the run was saved at step {self.step}")
        return "interrupted" if wish is True else wish

    def _step(self, stream: Iterator[Mapping[str, Any]]) -> None:
        asked = time.perf_counter()
        host_batch = next(stream, None)
        if host_batch is None:
            raise RuntimeError(f"the data ended at step {self.step} of {self.budget.num_steps}")
        arrived = time.perf_counter()
        batch = to_device(host_batch, self.run.device)
        rate = self.optimizer_settings.learning_rate_at(self.step, self.budget.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self._backward(batch)
        norm = nn.utils.clip_grad_norm_(
            [p for group in self.optimizer.param_groups for p in group["params"]], self.optimizer_settings.clip_norm
        )
        self._check_finite(losses["loss"], norm, batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.task.after_step(self.step / self.budget.num_steps)
        finished = time.perf_counter()
        self.meter.add({**losses, "gradient_norm": norm}, arrived - asked, finished - arrived)

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        parts = _split(batch, self.budget.micro_batches)
        total: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            with self._no_sync() if not last else nullcontext(), self._autocast():
                losses = self.model(part)
            with self._no_sync() if not last else nullcontext():
                (losses["loss"] / len(parts)).backward()
            for name, value in losses.items():
                total[name] = total.get(name, torch.zeros((), device=self.run.device)) + value.detach() / len(parts)
        return total

    def _no_sync(self) -> AbstractContextManager[None]:
        no_sync = getattr(self.model, "no_sync", None)
        return no_sync() if no_sync is not None else nullcontext()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.budget.precision == "float32":
            return nullcontext()
        return torch.autocast(self.run.device.type, dtype=torch.bfloat16)

    def _check_finite(self, loss: Tensor, norm: Tensor, batch: Batch) -> None:
        # The norm is taken after the gradients were averaged over workers, so all of them stop at the same step.
        finite = bool(torch.isfinite(norm) & torch.isfinite(loss))
        explosion = self.guard.judge(float(norm)) if finite else None
        if finite and explosion is None:
            return
        self.writer.join()
        raise (ExplodingGradientError if finite else NonFiniteLossError)(
            f"{explosion + ', ' if explosion else ''}loss {float(loss)} with gradient norm {float(norm)} "
            f"at step {self.step} on rank {self.run.rank}; samples: {', '.join(self.identify(batch))}. "
            f"The last good checkpoint is {self.writer.last or self.storage.newest() or 'none'}",
            {"loss": float(loss), "gradient_norm": float(norm)},
        )

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
        self.run.report({"step": float(self.step), "stopped_early": 1.0})
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
        self.run.report(record)
        step_s = max(record["step_s"] + record["data_wait_s"], 1e-6)
        self.look_every = max(1, min(self.budget.log_every, int(LOOK_UP_S / step_s)))

    def _validate_if_due(self) -> None:
        """Validate where the budget says so, once per step."""
        due = self.budget.validate_every and self.step % self.budget.validate_every == 0
        if self.validation is None or self.validated_step == self.step:
            return
        if not due and self.step < self.budget.num_steps:
            return
        self.metrics = summarize(evaluate(self.task, self.validation(), self.run))
        self.task.train()
        self.validated_step = self.step
        self.run.report({"step": float(self.step)} | {f"val/{k}": v for k, v in self.metrics.items()})
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
        self.run.report({"step": float(self.step), f"best/{self.monitor.metric}": value})

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


@dataclass
class _Meter:
    """Sums of what the steps since the last record reported."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    num_steps: int = 0
    data_wait_s: float = 0.0
    step_s: float = 0.0

    def add(self, values: Mapping[str, Tensor], data_wait_s: float, step_s: float) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        self.num_steps += 1
        self.data_wait_s += data_wait_s
        self.step_s += step_s

    def drain(self) -> tuple[list[str], NDArray[np.float64]]:
        means = {name: float(value) / self.num_steps for name, value in self.sums.items()}
        means |= {"data_wait_s": self.data_wait_s / self.num_steps, "step_s": self.step_s / self.num_steps}
        self.sums, self.num_steps, self.data_wait_s, self.step_s = {}, 0, 0.0, 0.0
        return list(means), np.array(list(means.values()), dtype=np.float64)


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


@torch.no_grad()
def evaluate(task: Task, batches: Iterable[Mapping[str, Any]], run: Run) -> dict[str, MetricState]:
    """Return the task's metric states over all batches of all workers.

    Raises:
        ValueError: there was no batch.
    """
    task.to(run.device).eval()
    states: dict[str, MetricState] = {}
    for host_batch in batches:
        for name, state in task.evaluate(to_device(host_batch, run.device)).items():
            states[name] = states[name].merge(state) if name in states else state
    if not states:
        raise ValueError("there was no batch to evaluate")
    for name, state in states.items():
        shares = [type(state).from_array(rows) for rows in run.gather(state.to_array())]
        merged = shares[0]
        for share in shares[1:]:
            merged = merged.merge(share)
        states[name] = merged
    return states


def summarize(states: Mapping[str, MetricState]) -> dict[str, float]:
    """Return one number per metric: its mean."""
    return {name: state.mean() for name, state in states.items()}


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """Return the batch as tensors on the device; the copy to a GPU is pinned and does not block."""
    tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
    if device.type != "cuda":
        return tensors
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()}


def _split(batch: Batch, num_parts: int) -> list[Batch]:
    if num_parts == 1:
        return [batch]
    size = len(next(iter(batch.values())))
    if size % num_parts:
        raise ValueError(f"a worker's batch of {size} cannot be cut into {num_parts} micro-batches")
    step = size // num_parts
    return [{name: value[i * step : (i + 1) * step] for name, value in batch.items()} for i in range(num_parts)]
