"""The two ways in which a trial trains, behind one interface: in the trial's own process, or by a Ray Train launch.

Both are advanced from validation to validation, so that a scheduler can decide in between.
"""

import dataclasses
import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eventsam import checkpoint
from eventsam.engine import fit
from eventsam.metrics_log import MetricsLog, records_from
from eventsam.recipe import Recipe
from eventsam.spec import Spec, build, to_json
from eventsam.tasks.task import Task
from ray_jobs.cluster import Resources
from ray_jobs.sweep_samples import Selection, SharedSamples
from ray_jobs.sweep_targets import Answers, KeptParts, remember


@dataclass(frozen=True)
class Validation:
    """What one validation said, after how many optimiser steps; `finished` at the end of the budget."""

    step: int
    metrics: Mapping[str, float]
    finished: bool


class Fitting(Protocol):
    """One seed of a trial, on its way."""

    folder: Path
    rested_s: float
    """Seconds for which it waited for the scheduler, not for data."""

    def advance(self) -> Validation | None:
        """Train to the next validation and return it; None where there is nothing left to train."""

    def close(self) -> None:
        """Stop training and give back what it holds."""


class _ClosedError(Exception):
    """Unwinds a fit that is not wanted any more."""


@dataclass
class TrialRun:
    """A run in the trial's process: records go to its log; validations wait for the scheduler."""

    folder: Path
    device: torch.device
    rank: int = 0
    world_size: int = 1
    reported: Validation | None = None

    def wrap(self, task: Task) -> nn.Module:
        """Return the task itself."""
        return task

    def restore(self) -> Path | None:
        """Return the newest checkpoint of the run's folder."""
        return checkpoint.latest(self.folder / "checkpoints")

    def report(self, record: Mapping[str, float]) -> None:
        """Append to the run's log and keep a validation until the next batch is asked for."""
        MetricsLog(self.folder / "metrics.jsonl").append(record)
        metrics = {name.removeprefix("val/"): value for name, value in record.items() if name.startswith("val/")}
        if metrics:
            self.reported = Validation(int(record["step"]), metrics, False)

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return the one worker's array."""
        return [values]

    def stopping(self) -> bool:
        """Stopping happens between batches."""
        return False


class InTrialFit:
    """Trains in a thread of this process, which rests while the scheduler decides.

    It hands a validation over when the next batch is asked for: by then the engine has written that step's checkpoint.
    The global random state of torch is its own while it runs, so that several fits can take turns in one process.
    """

    def __init__(
        self, recipe: Spec, folder: Path, library: Any, parts: KeptParts, answers: Answers, resources: Resources
    ) -> None:
        self.recipe, self.folder, self.resources = recipe, folder, resources
        self.library, self.parts, self.answers = library, parts, answers
        self._go, self._out = threading.Semaphore(0), queue.Queue[Validation | Exception | None]()
        self._closing = False
        self.rested_s = 0.0
        self._thread: threading.Thread | None = None
        self._random_state: torch.Tensor | None = None

    def advance(self) -> Validation | None:
        """Train to the next validation.

        Raises:
            Exception: whatever ended the training.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, name=f"fit {self.folder.name}", daemon=True)
            self._thread.start()
        elif not self._thread.is_alive():
            return None
        if self._random_state is not None:
            torch.set_rng_state(self._random_state)
        self._go.release()
        said = self._out.get()
        self._random_state = torch.get_rng_state()
        if isinstance(said, Exception):
            raise said
        return said

    def close(self) -> None:
        """Unwind the training, wherever it rests."""
        self._closing = True
        self._go.release()
        if self._thread is not None:
            self._thread.join(30.0)

    def _train(self) -> None:
        self._go.acquire()
        try:
            # Not a GPU that happens to be there: one that nobody gave to this trial is somebody else's.
            run = TrialRun(self.folder, torch.device("cuda" if self.resources.gpus_per_worker else "cpu"))
            self._fit(run)
            if run.reported is not None:
                self._out.put(dataclasses.replace(run.reported, finished=True))
                self._go.acquire()
            self._out.put(None)
        except _ClosedError:
            self._out.put(None)
        except Exception as error:  # raised again by the one who advances
            self._out.put(error)

    def _fit(self, run: TrialRun) -> None:
        if self._closing:
            raise _ClosedError
        torch.set_num_threads(self.resources.num_threads)
        seed = int(self.recipe.arguments.get("seed", 0))
        torch.manual_seed(seed)
        task = self.parts.build(self.recipe.arguments["task"])
        rest = {name: build(value, name) for name, value in self.recipe.arguments.items() if name != "task"}
        recipe = Recipe(task=task, **rest)
        training, validation = self._samples(task, seed, True), self._samples(task, seed, False)
        remember(task.to(run.device), self.answers)
        size, stop = recipe.budget.global_batch_size, recipe.budget.num_steps * recipe.budget.global_batch_size

        def identify(batch: Mapping[str, torch.Tensor]) -> list[str]:
            return [training.loader.catalog.row(int(index))["sample_id"] for index in batch["sample_index"]]

        fit(
            task,
            lambda position: self._resting(run, training.batches(position, stop, size)),
            optimizer=recipe.optimizer,
            budget=recipe.budget,
            run=run,
            folder=self.folder / "checkpoints",
            recipe=self.recipe,
            catalog_hash=training.loader.catalog.hash,
            validation=lambda: validation.batches(0, validation.loader.order.num_samples, size),
            monitor=recipe.monitor,
            identify=identify,
        )

    def _samples(self, task: Task, seed: int, training: bool) -> SharedSamples:
        data = to_json(self.recipe.arguments["data"])
        return SharedSamples(self.library, Selection(data, tuple(sorted(task.reads)), seed, training))

    def _resting(self, run: TrialRun, batches: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the batches; where a validation was reported since the last one, hand it over and wait first.

        The engine takes that rest for a wait for data; `rested_s` says how much of it was none.
        """
        for batch in batches:
            if run.reported is not None:
                said, run.reported = run.reported, None
                rested = time.perf_counter()
                self._out.put(said)
                self._go.acquire()
                self.rested_s += time.perf_counter() - rested
            if self._closing:
                raise _ClosedError
            yield batch


@dataclass
class TrainerFit:
    """Trains with Ray Train workers of its own; its log tells the validations as they come.

    The workers go on while the scheduler decides. They are stopped by the run's stop file, so that Ray Train takes its
    workers and its placement group down itself.
    """

    recipe: Spec
    folder: Path
    resources: Resources
    poll_s: float = 0.1
    rested_s: float = 0.0
    _thread: threading.Thread | None = field(default=None, repr=False)
    _error: Exception | None = field(default=None, repr=False)
    _offset: int = 0
    _last_step: int = 0

    def advance(self) -> Validation | None:
        """Wait for the next validation.

        Raises:
            Exception: whatever ended the training.
        """
        if self._thread is None:
            self._start()
        while True:
            ended = not (self._thread and self._thread.is_alive())
            for offset, record in records_from(self.folder / "metrics.jsonl", self._offset):
                self._offset = offset
                metrics = {name.removeprefix("val/"): v for name, v in record.items() if name.startswith("val/")}
                if metrics and record["step"] > self._last_step:
                    self._last_step = int(record["step"])
                    return Validation(self._last_step, metrics, self._last_step >= self._num_steps())
            if ended:
                if self._error is not None:
                    raise self._error
                return None
            time.sleep(self.poll_s)

    def close(self) -> None:
        """Have the workers save a checkpoint and end."""
        from ray_jobs.termination import ask_to_stop

        if self._thread is None:
            return
        deadline = time.monotonic() + 120
        # A launch that is still starting takes the file away: it is for a run that is under way.
        while self._thread.is_alive() and time.monotonic() < deadline:
            ask_to_stop(self.folder, "interrupted")
            self._thread.join(1.0)

    def _start(self) -> None:
        newest = checkpoint.latest(self.folder / "checkpoints")
        self._last_step = checkpoint.read_state(newest).step if newest else 0
        log = self.folder / "metrics.jsonl"
        self._offset = log.stat().st_size if log.exists() else 0
        self._thread = threading.Thread(target=self._launch, name=f"fit {self.folder.name}", daemon=True)
        self._thread.start()

    def _launch(self) -> None:
        from ray_jobs.train import launch

        try:
            launch(self.recipe, self.folder, self.resources)
        except Exception as error:  # raised again by the one who advances
            self._error = error

    def _num_steps(self) -> int:
        budget = self.recipe.arguments["budget"]
        return int(build(budget).num_steps)


def adopt(source: Path, folder: Path, recipe: Spec) -> Path:
    """Start a run's folder from another run's checkpoint: its weights, optimiser, schedule, position and random state.

    The copy states the new recipe, so that the run goes on as its own. What was best before belongs to the other run.
    """
    target = folder / "checkpoints" / source.name
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    state = json.loads((partial / "state.json").read_text())
    (partial / "state.json").write_text(json.dumps({**state, "recipe": to_json(recipe), "best": None}, indent=1))
    partial.rename(target)
    return target


def keep(source: Path, folder: Path, num_kept: int = 4) -> Path:
    """Keep a checkpoint from being cleaned away, by hard links where the file system has them; return its place."""
    target = folder / source.name
    if not target.exists():
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for file in source.iterdir():
            try:
                (partial / file.name).hardlink_to(file)
            except OSError:
                shutil.copy2(file, partial / file.name)
        partial.rename(target)
    for old in sorted(folder.glob("step_*"))[:-num_kept]:
        shutil.rmtree(old)
    return target
