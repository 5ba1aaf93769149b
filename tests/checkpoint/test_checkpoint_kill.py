"""A save that is killed at any of its system calls leaves the old or the new checkpoint whole, and goes on from it."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
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

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


class Line(Task):
    """One linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1)


def taken(step: int, value: float) -> Snapshot:
    """A checkpoint whose every weight is `value`."""
    task = Line()
    nn.init.constant_(task.line.weight, value)
    optimizer = AdamW().create(task, torch.device("cpu"))
    state = State(step, step * 8, value, spec(Window, length_ms=1.0), "hash", {"m": value}, best_step=step)
    return checkpoint.snapshot(task, optimizer, state)


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


def in_a_child(work: Callable[[], None], number: int = 0, torn: bool = False) -> tuple[bool, int]:
    """Run `work` in a forked child that dies at its call of that number; return whether it died, and its calls."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        count = die_at(number, torn)
        try:
            work()
            os.write(write, str(count[0]).encode())
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    return os.WIFSIGNALED(status), int(said or 0)


def save(root: Path, snapshot: Snapshot) -> None:
    """What the engine's writer does with a snapshot that is the best so far: commit, point, keep."""
    writer = Writer(LocalStorage(root), keep_last=1, behind=False)
    # Not `submit`: its thread would outlive the fork's bookkeeping; the calls are the same.
    writer._write(snapshot, {"step": snapshot.step, "m": snapshot.record["best"]})
    assert writer.error is None


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


@pytest.mark.parametrize("torn", [False, True], ids=["before the call", "in the middle of a write"])
@pytest.mark.parametrize("step", [2, 1], ids=["a new step", "the same step again"])
def test_a_kill_at_every_call_leaves_old_or_new_whole(tmp_path: Path, step: int, torn: bool) -> None:
    old, new = taken(1, 1.0), taken(step, 5.0)
    died, num_calls = in_a_child(lambda: save_over(tmp_path / "calm", old, new))
    assert not died
    assert num_calls > 20
    outcomes = []
    for number in range(1, num_calls + 1):
        root = tmp_path / str(number)
        save(root, old)
        died, _ = in_a_child(lambda root=root: save(root, new), number, torn)  # type: ignore[misc]
        found = whole_state(root)
        assert found in ((1, 1.0), (step, 5.0)), f"call {number}: {found}"
        outcomes.append(found == (step, 5.0))
        # The next start cleans up after the dead writer, and saves again.
        writer = Writer(LocalStorage(root), keep_last=1, behind=False)
        writer.start(0, {"step": found[0], "m": found[1]})
        assert writer.error is None
        best = LocalStorage(root).best()
        assert best is not None and (root / best).is_dir()
        assert not list(root.glob(".*"))
        save(root, taken(3, 7.0))
        assert whole_state(root) == (3, 7.0)
        if not died:
            break
    # Before the rename the old one counts, after it the new one: never both ways.
    assert outcomes == sorted(outcomes)
    assert not outcomes[0]
    assert outcomes[-1]


def save_over(root: Path, old: Snapshot, new: Snapshot) -> None:
    save(root, old)
    save(root, new)


def test_everything_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut loses what was not flushed: files before their folder's new name, the name before the deletions."""
    said: list[tuple[str, str]] = []
    paths: dict[int, str] = {}
    calls = {name: getattr(os, name) for name in ("open", "write", "fsync", "rename", "replace", "rmdir")}

    def opened(path: Any, *args: Any, **kwargs: Any) -> int:
        descriptor: int = calls["open"](path, *args, **kwargs)
        paths[descriptor] = os.fspath(path)
        return descriptor

    def noted(name: str) -> Callable[..., Any]:
        def call(first: Any, *args: Any, **kwargs: Any) -> Any:
            where = paths.get(first, "") if isinstance(first, int) else os.fspath(first)
            said.append((name, Path(where).name))
            return calls[name](first, *args, **kwargs)

        return call

    save(tmp_path, taken(1, 1.0))
    monkeypatch.setattr(os, "open", opened)
    for name in ("write", "fsync", "rename", "replace", "rmdir"):
        monkeypatch.setattr(os, name, noted(name))
    save(tmp_path, taken(2, 2.0))
    monkeypatch.undo()
    renamed = next(i for i, (name, _) in enumerate(said) if name == "rename")
    for file in checkpoint.FILES:
        assert said.index(("fsync", file)) > max(i for i, entry in enumerate(said) if entry == ("write", file))
        assert said.index(("fsync", file)) < renamed
    partial = said[renamed][1]
    assert said.index(("fsync", partial)) < renamed
    root = [i for i, entry in enumerate(said) if entry == ("fsync", tmp_path.name)]
    first_deletion = next(i for i, (name, _) in enumerate(said) if name == "rmdir")
    assert renamed < root[0] < first_deletion
    pointed = next(i for i, (name, _) in enumerate(said) if name == "replace")
    assert root[0] < pointed < root[1] < first_deletion


def test_state_json_is_written_last(tmp_path: Path) -> None:
    save(tmp_path, taken(1, 1.0))
    folder = checkpoint.folder_of(tmp_path, 1)
    recorded = json.loads((folder / "state.json").read_text())["files"]
    assert {name: entry["bytes"] for name, entry in recorded.items()} == {
        name: (folder / name).stat().st_size for name in checkpoint.FILES[:2]
    }
