"""Which errors leave a failure bundle: those of the step itself, not those of other workers or of machines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eventsam.checkpoint import CheckpointWriteError, LocalStorage
from eventsam.engine import ReplaceWorkersError
from eventsam.faults.bundle import newest_bundle
from eventsam.faults.step_watch import StepWatch, Watching
from eventsam.faults.write_bundle import Scene
from eventsam.spec import spec
from eventsam.tasks.task import Task
from eventsam.windows import Window


class Line(Task):
    """One linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1)


def watch_of(run: Path) -> StepWatch:
    scene = Scene(run, spec(Window, length_ms=1.0), "hash", 0, 1, LocalStorage(run / "checkpoints"))
    return StepWatch(scene, Watching(hang_minutes=0), lambda batch: ["a"], Line())


def fail_in_a_step(run: Path, error: Exception) -> None:
    watch = watch_of(run)

    def batches() -> Iterator[dict[str, Any]]:
        yield {"x": torch.zeros(1, 3)}

    with watch:
        for _ in watch.steps(7, batches()):
            raise error


@pytest.mark.parametrize(
    "error",
    [
        ReplaceWorkersError("a worker has to go; the run was saved at step 8"),
        CheckpointWriteError("no room"),
        RuntimeError("[gloo] Connection closed by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_steps_own_leaves_none(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        fail_in_a_step(tmp_path, error)
    assert newest_bundle(tmp_path) is None


def test_the_steps_own_error_leaves_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        fail_in_a_step(tmp_path, RuntimeError("shapes cannot be multiplied"))
    assert newest_bundle(tmp_path) == tmp_path / "failures" / "step_000000007_error"


def test_what_fails_between_two_steps_leaves_none(tmp_path: Path) -> None:
    watch = watch_of(tmp_path)

    def batches() -> Iterator[dict[str, Any]]:
        yield {"x": torch.zeros(1, 3)}
        raise RuntimeError("a reader died")

    with pytest.raises(RuntimeError, match="a reader died"), watch:
        list(watch.steps(0, batches()))
    assert newest_bundle(tmp_path) is None
