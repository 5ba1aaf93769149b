"""Saves checkpoints in children that are killed at each of their system calls; a program, for it forks many times."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eventsam import checkpoint
from eventsam.checkpoint import LocalStorage, Snapshot, State, Writer
from eventsam.optim import AdamW
from eventsam.spec import spec
from eventsam.tasks.task import Task
from eventsam.windows import Window

CALLS = ("open", "mkdir", "write", "fsync", "close", "rename", "replace", "unlink", "rmdir", "scandir")
"""What the save path asks of the system; deletions of folders included."""


class Line(Task):
    """One linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1)


def taken(step: int, value: float) -> Snapshot:
    """Return a checkpoint whose every weight is `value`."""
    task = Line()
    nn.init.constant_(task.line.weight, value)
    optimizer = AdamW().create(task, torch.device("cpu"))
    state = State(step, step * 8, value, spec(Window, length_ms=1.0), "hash", {"m": value}, best_step=step)
    return checkpoint.snapshot(task, optimizer, state)


def save(root: Path, snapshot: Snapshot) -> None:
    """Do what the engine's writer does with the best snapshot so far: commit, point, keep; in this very thread."""
    writer = Writer(LocalStorage(root), keep_last=1, behind=False)
    writer._write(snapshot, {"step": snapshot.step, "m": snapshot.record["best"]})
    if writer.error is not None:
        raise writer.error


def whole_state(root: Path) -> tuple[int, float]:
    """Go on from what is there: load everything, and return its step and its weights' value."""
    newest = checkpoint.latest(root)
    assert newest is not None
    task = Line()
    optimizer = AdamW().create(task, torch.device("cpu"))
    state = checkpoint.restore(newest, task, optimizer, spec(Window, length_ms=1.0), "hash")
    (value,) = set(task.line.weight.flatten().tolist())
    assert state.best == value
    return state.step, value


def die_at(number: int, torn: bool) -> list[int]:
    """Patch the system's calls of this process: the one of that number never returns; a torn write is half done."""
    count = [0]

    def patched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] == number:
                if torn and name == "write":
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counted

    for name in CALLS:
        setattr(os, name, patched(name, getattr(os, name)))
    return count


def in_a_child(work: Callable[[], None], number: int, torn: bool) -> bool:
    """Run `work` in a forked child that dies at its call of that number; return whether it did."""
    child = os.fork()
    if child == 0:
        die_at(number, torn)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def start_and_save_again(root: Path, found: tuple[int, float]) -> None:
    """Do what the next start does: clean up after the dead writer, mend the pointer, save."""
    writer = Writer(LocalStorage(root), keep_last=1, behind=False)
    writer.start(0, {"step": found[0], "m": found[1]})
    assert writer.error is None
    best = LocalStorage(root).best()
    assert best is not None and (root / best).is_dir()
    assert not list(root.glob(".*"))
    save(root, taken(3, 7.0))
    assert whole_state(root) == (3, 7.0)


def kill_at_every_call(folder: Path, step: int, torn: bool) -> list[tuple[int, float]]:
    """Return what was found after a kill at the first call, the second, and so on, up to a save that nothing killed."""
    found: list[tuple[int, float]] = []
    died = True
    while died:
        root = folder / str(len(found))
        save(root, taken(1, 1.0))
        died = in_a_child(lambda root=root: save(root, taken(step, 5.0)), len(found) + 1, torn)  # type: ignore[misc]
        found.append(whole_state(root))
        start_and_save_again(root, found[-1])
    return found


if __name__ == "__main__":
    outcomes = {
        f"{step} {torn}": kill_at_every_call(Path(sys.argv[1]) / f"{step}-{torn}", step, torn)
        for step in (1, 2)
        for torn in (False, True)
    }
    print(json.dumps(outcomes))
