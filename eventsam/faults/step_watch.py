"""Around a worker's training: note each step before it is computed, count it, and write the bundle where it fails."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from eventsam.checkpoint import CheckpointWriteError
from eventsam.engine import NonFiniteLossError, ReplaceWorkersError
from eventsam.faults.flight import FlightRecorder
from eventsam.faults.hang_watch import HangWatch
from eventsam.faults.write_bundle import Scene, write_bundle
from eventsam.tasks.task import Batch, Task

log = logging.getLogger(__name__)

PEER_LOST = ("gloo", "nccl", "connection closed", "connection reset", "process group")
"""In the message of a worker that is only left behind by another one: its step is not what failed."""


@dataclass(frozen=True)
class Watching:
    """How closely a run's workers are watched.

    `hang_minutes`: no step and no validation batch for so long is a hang; 0 waits for ever. `exits`: a hung worker ends
    its process, to be started again. `least_step_s` draws every step out to that long: a small model in a large one's
    place.
    """

    hang_minutes: float = 20.0
    exits: bool = True
    least_step_s: float = 0.0


@dataclass
class StepWatch:
    """One worker's watch; a `with` block around its training. An error that a step raises leaves a failure bundle."""

    scene: Scene
    watching: Watching
    identify: Callable[[Batch], list[str]]
    task: Task
    flight: FlightRecorder = field(default_factory=FlightRecorder)
    _computing: bool = False

    def __post_init__(self) -> None:
        self.hang = HangWatch(
            self.scene.run,
            self.scene.rank,
            self.scene.world_size,
            self.watching.hang_minutes * 60,
            # A stuck process is not asked for its weights.
            lambda reason: self._write("hang", reason, None, {}),
            self.watching.exits,
        )

    def __enter__(self) -> "StepWatch":
        self.hang.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.hang.__exit__(kind, error, traceback)
        if not isinstance(error, Exception) or not self._computing or _is_of_others(error):
            return
        numbers = error.numbers if isinstance(error, NonFiniteLossError) else {}
        name = error.kind if isinstance(error, NonFiniteLossError) else "error"
        try:
            self._write(name, f"{type(error).__name__}: {error}", self.task, numbers)
        except OSError as problem:  # a full disk: the error itself matters more
            log.error("the failure bundle could not be written: %s", problem)

    def steps(self, first_step: int, batches: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yield the training batches from a step on, each noted before it is computed."""
        for step, batch in enumerate(batches, first_step):
            started = time.perf_counter()
            self.hang.beat()
            self.flight.begin(step, batch)
            self._computing = True
            yield batch
            self._computing = False
            time.sleep(max(0.0, self.watching.least_step_s - (time.perf_counter() - started)))

    def beats(self, batches: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yield the batches of a validation, counted as signs of life."""
        self._computing = False  # what fails from here on is not the step
        for batch in batches:
            self.hang.beat()
            yield batch

    def _write(self, kind: str, message: str, task: Task | None, numbers: Mapping[str, float]) -> Path:
        ids = self.identify(self.flight.batch) if self.flight.batch else []
        return write_bundle(self.scene, self.flight, kind, message, task, numbers, ids)


def _is_of_others(error: Exception) -> bool:
    """Whether the error is another worker's or the machines': nothing in this step would be found by repeating it."""
    if isinstance(error, CheckpointWriteError | ReplaceWorkersError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in PEER_LOST)
