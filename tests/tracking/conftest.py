"""Runs' folders with their mirrors, in a real SQLite store."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from eventsam.tracking.card import default_uri
from eventsam.tracking.mirror import MlflowMirror

OpenRun = Callable[..., MlflowMirror]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store without runs, made once: creating one takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of one SQLite store for all tests."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(empty_store, folder)
    return default_uri(folder)


@pytest.fixture
def open_run(tmp_path: Path, store: str) -> Iterator[OpenRun]:
    """Open mirrors in the test's folder; those that the test leaves open are ended."""
    opened: list[MlflowMirror] = []

    def make(name: str = "run", uri: str | None = None, **options: object) -> MlflowMirror:
        settings: dict[str, object] = {"tags": {}, "parameters": {"task": "Fuse", "task.blocks": [2, 5]},
                                       "artifacts": tmp_path / "artifacts"}  # fmt: skip
        mirror = MlflowMirror(tmp_path / name, uri or store, tmp_path.name, **(settings | options))  # type: ignore[arg-type]
        opened.append(mirror)
        return mirror

    yield make
    for mirror in opened:
        mirror._ending.set()
        mirror._ended.wait(20)
