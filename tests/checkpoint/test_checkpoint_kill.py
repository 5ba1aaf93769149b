"""A save that is killed at any of its system calls leaves the old or the new checkpoint whole, and goes on from it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kill_saves
import pytest
from kill_saves import save, taken

from eventsam import checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_a_kill_at_every_call_leaves_old_or_new_whole(tmp_path: Path) -> None:
    """Before each call, and in the middle of each write; the new checkpoint is of a new step or of the same again."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, kill_saves.__file__, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert result.returncode == 0, result.stderr
    outcomes = json.loads(result.stdout)
    assert outcomes.keys() == {"1 False", "1 True", "2 False", "2 True"}
    for name, found in outcomes.items():
        old, new = [1, 1.0], [int(name[0]), 5.0]
        # Before the rename the old one counts, after it the new one: never neither, never both ways.
        assert all(state in (old, new) for state in found)
        is_new = [state == new for state in found]
        assert is_new == sorted(is_new)
        assert is_new.count(False) > 10
        assert is_new.count(True) > 10
        assert len(found) > 30


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
