"""Where checkpoints are kept: what every kind of storage offers, and how a snapshot becomes files."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from eventsam.checkpoint.state import STATE, Snapshot, State
from eventsam.checkpoint.tensor_file import Piece, pieces

BEST = "best.json"
"""The pointer to the best checkpoint, beside the checkpoints."""


class CheckpointWriteError(OSError):
    """A checkpoint could not be written; the message says where, why, and which one is still good."""


class Storage(Protocol):
    """A place for one run's checkpoints; names are `step_000000042`, and sort by step."""

    @property
    def location(self) -> str:
        """Where it is, for people."""

    def probe(self, num_bytes: int) -> None:
        """Write something small, and make sure of room for a checkpoint of `num_bytes`.

        Raises:
            CheckpointWriteError: it cannot be written, or there is no room.
        """

    def commit(self, snapshot: Snapshot) -> str:
        """Write a checkpoint whole, or leave what was there; return its name."""

    def names(self) -> list[str]:
        """Return the names of all checkpoints, oldest first."""

    def newest(self) -> str | None:
        """Return the newest whole checkpoint; torn ones are named in the log and passed over."""

    def state(self, name: str) -> State:
        """Return a checkpoint's state, without its tensors where they lie far away."""

    def fetch(self, name: str) -> Path:
        """Return a checkpoint's folder on this machine, whole."""

    def folder(self, name: str) -> Path:
        """Return where `fetch` puts a checkpoint."""

    def point(self, name: str, record: Mapping[str, Any]) -> None:
        """Make a checkpoint the best one."""

    def best(self) -> str | None:
        """Return the name of the best checkpoint, None where none was named or it is not there any more."""

    def keep(self, num_last: int) -> None:
        """Delete all but the last `num_last` checkpoints and the best one."""

    def mirror(self) -> None:
        """Have the newest and the best checkpoint on this machine, for those who come after the run."""

    def clean(self) -> None:
        """Remove what killed writers left half done; for the one writer of a run, before it starts."""


def folder_name(step: int, attempt: int = 0) -> str:
    """Return the name of a step's checkpoint; a later attempt at the same step sorts behind it."""
    return f"step_{step:09d}" + (f"_{attempt + 1}" if attempt else "")


def step_of(name: str) -> int:
    """Return the step that a checkpoint's name states."""
    return int(name.split("_")[1])


def write_files(
    snapshot: Snapshot, open_file: Callable[[str], AbstractContextManager[Callable[[Piece], object]]]
) -> dict[str, Any]:
    """Write a snapshot's files through `open_file`; return what state.json records, hashes of the others included."""
    hashes = {}
    for name, tensors in snapshot.tensors.items():
        digest, num_bytes = hashlib.sha256(), 0
        with open_file(name) as write:
            for piece in pieces(tensors):
                write(piece)
                digest.update(piece)
                num_bytes += len(piece)
        hashes[name] = {"bytes": num_bytes, "sha256": digest.hexdigest()}
    record = {**snapshot.record, "files": hashes}
    with open_file(STATE) as write:
        write(json.dumps(record, indent=1).encode())
    return record
