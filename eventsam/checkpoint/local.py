"""Checkpoints in a folder, on a local disk or on a file system that all nodes share: whole or absent at any instant."""

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors
import torch

from eventsam.checkpoint.state import MODEL, OPTIMIZER, STATE, Snapshot, State, read_state, snapshot, state_of
from eventsam.checkpoint.storage import BEST, CheckpointWriteError, folder_name, write_files
from eventsam.checkpoint.tensor_file import Piece
from eventsam.tasks.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalStorage:
    """Checkpoints below `root`: a folder each, written to a hidden name, flushed to the disk, and renamed."""

    root: Path

    @property
    def location(self) -> str:
        """The folder."""
        return str(self.root)

    def probe(self, num_bytes: int) -> None:
        """Write a small file, and compare the free bytes with what a checkpoint takes."""
        path = self.root / f".probe.{uuid.uuid4().hex[:8]}"
        try:
            os.makedirs(self.root, exist_ok=True)  # noqa: PTH103 (every call of the save path is os's)
            with _flushed_file(path) as write:
                write(b"\0" * 4096)
            os.unlink(path)  # noqa: PTH108
            free = shutil.disk_usage(self.root).free
        except OSError as error:
            raise CheckpointWriteError(f"checkpoints cannot be written to {self.root}: {error}") from error
        if free < num_bytes:
            raise CheckpointWriteError(
                f"{self.root} has {free / 2**20:.0f} MiB left, a checkpoint of this run takes about "
                f"{num_bytes / 2**20:.0f} MiB: make room, or keep the checkpoints elsewhere"
            )

    def commit(self, snapshot: Snapshot) -> str:
        """Write a checkpoint whole, or leave what was there."""
        os.makedirs(self.root, exist_ok=True)  # noqa: PTH103
        name = self._free_name(snapshot.step)
        partial = self._hidden(name)
        try:
            os.mkdir(partial)  # noqa: PTH102
            write_files(snapshot, lambda file: _flushed_file(partial / file))
            _flush(partial)
            os.rename(partial, self.root / name)  # noqa: PTH104
        except BaseException:
            # On a full disk, the good checkpoints need the room.
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _flush(self.root)
        return name

    def names(self) -> list[str]:
        """Return the names of all checkpoints, whole or not, oldest first."""
        return sorted(path.name for path in self.root.glob("step_*"))

    def newest(self) -> str | None:
        """Return the newest whole checkpoint."""
        for name in reversed(self.names()):
            problem = damage(self.root / name)
            if problem is None:
                return name
            log.warning("checkpoint %s is damaged (%s); taking the one before it", self.root / name, problem)
        return None

    def state(self, name: str) -> State:
        """Return a checkpoint's state."""
        return read_state(self.root / name)

    def folder(self, name: str) -> Path:
        """Return a checkpoint's folder."""
        return self.root / name

    def fetch(self, name: str) -> Path:
        """Return a checkpoint's folder: it is on this machine already."""
        return self.root / name

    def point(self, name: str, record: Mapping[str, Any]) -> None:
        """Make a checkpoint the best one."""
        partial = self.root / f".{BEST}.{uuid.uuid4().hex[:8]}.partial"
        with _flushed_file(partial) as write:
            write(json.dumps({"checkpoint": name, **record}).encode())
        os.replace(partial, self.root / BEST)  # noqa: PTH105
        _flush(self.root)

    def best(self) -> str | None:
        """Return the name of the best checkpoint."""
        try:
            name = str(json.loads((self.root / BEST).read_text())["checkpoint"])
        except (OSError, ValueError, KeyError):
            return None
        return name if (self.root / name / STATE).exists() else None

    def keep(self, num_last: int) -> None:
        """Delete all but the last `num_last` checkpoints and the best one."""
        best = self.best()
        for name in self.names()[:-num_last]:
            if name != best:
                self._delete(name)

    def mirror(self) -> None:
        """There is nothing to fetch."""

    def clean(self) -> None:
        """Remove what killed writers left half done."""
        for path in (*self.root.glob(".step_*.partial"), *self.root.glob(f".{BEST}.*"), *self.root.glob(".probe.*")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _free_name(self, step: int) -> str:
        """Return a name that no whole checkpoint has; a damaged one makes room."""
        attempt = 0
        while (path := self.root / folder_name(step, attempt)).exists():
            if damage(path) is not None:
                self._delete(path.name)
                break
            attempt += 1
        return folder_name(step, attempt)

    def _delete(self, name: str) -> None:
        # Renamed first: a deletion that is cut short leaves no torn checkpoint.
        hidden = self._hidden(name)
        os.rename(self.root / name, hidden)  # noqa: PTH104
        shutil.rmtree(hidden)

    def _hidden(self, name: str) -> Path:
        return self.root / f".{name}.{uuid.uuid4().hex[:8]}.partial"


def latest(root: Path) -> Path | None:
    """Return the newest whole checkpoint under `root`; a torn one is named in the log and passed over."""
    name = LocalStorage(root).newest()
    return None if name is None else root / name


def folder_of(root: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint; names sort by step."""
    return root / folder_name(step)


def save(root: Path, task: Task, optimizer: torch.optim.Optimizer | None, state: State) -> Path:
    """Write a checkpoint under `root` at once and return its folder."""
    return root / LocalStorage(root).commit(snapshot(task, optimizer, state))


def damage(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint's folder, None if nothing is: files, their sizes and their hashes."""
    try:
        record = json.loads((folder / STATE).read_text())
        state_of(record, folder / STATE)
        for name in (MODEL, OPTIMIZER):
            # The first version of the format recorded no hashes: the file's own header is all there is to go by.
            with safetensors.safe_open(folder / name, framework="numpy"):
                pass
            problem = _mismatch(folder / name, record.get("files", {}).get(name))
            if problem:
                return problem
    except FileNotFoundError as error:
        return f"{Path(error.filename).name if error.filename else error} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _mismatch(path: Path, expected: Mapping[str, Any] | None) -> str | None:
    if expected is None:
        return None
    status = path.stat()
    if status.st_size != expected["bytes"]:
        return f"{path.name} has {status.st_size} of {expected['bytes']} bytes"
    if _sha256(path, status.st_size, status.st_mtime_ns) != expected["sha256"]:
        return f"the content of {path.name} is not what was written"
    return None


@lru_cache(maxsize=64)
def _sha256(path: Path, num_bytes: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _flushed_file(path: Path) -> Iterator[Callable[[Piece], None]]:
    """Open a new file for writing; on a good end it is on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)

    def write(piece: Piece) -> None:
        rest = memoryview(piece)
        while len(rest):
            rest = rest[os.write(descriptor, rest) :]

    try:
        yield write
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(folder: Path) -> None:
    """Have a folder's entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
