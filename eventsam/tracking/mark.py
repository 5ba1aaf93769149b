"""How far a run's folder was copied to one server."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from eventsam.metrics_log import records_from
from eventsam.tracking.card import FOLDER, masked

LOGS = ("metrics.jsonl", "system.jsonl")
"""The logs of a run's folder: training's, and the machines'."""
OUTBOX = f"{FOLDER}/outbox.jsonl"


@dataclass
class Mark:
    """The run's id on the server, bytes copied of each file, and the last step sent of each metric."""

    run_id: str | None = None
    parameters_sent: bool = False
    offsets: dict[str, int] = field(default_factory=dict)
    last_steps: dict[str, int] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    num_refused: int = 0


@dataclass(frozen=True)
class Waiting:
    """What a server has not taken yet: records of the logs, and entries of the outbox."""

    num_records: int
    num_entries: int

    def __bool__(self) -> bool:
        return bool(self.num_records or self.num_entries)

    def __str__(self) -> str:
        return f"{self.num_records} records and {self.num_entries} other entries"


def read_mark(folder: Path, uri: str) -> Mark:
    """Return how far a folder was copied to the server at `uri`; a fresh mark where nothing was."""
    path = _path(folder, uri)
    return Mark(**json.loads(path.read_text())) if path.exists() else Mark()


def write_mark(folder: Path, uri: str, mark: Mark) -> None:
    """Keep a mark, whole or not at all."""
    path = _path(folder, uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(mark)))
    partial.replace(path)


def waiting(folder: Path, uri: str) -> Waiting:
    """Count what the server at `uri` has not taken of a folder."""
    offsets = read_mark(folder, uri).offsets
    counts = {name: sum(1 for _ in records_from(folder / name, offsets.get(name, 0))) for name in (*LOGS, OUTBOX)}
    return Waiting(sum(counts[name] for name in LOGS), counts[OUTBOX])


def _path(folder: Path, uri: str) -> Path:
    # Each server has its own mark: a run that was tracked locally can be copied to a shared server later.
    name = hashlib.sha256(masked(uri).encode()).hexdigest()[:8]
    return folder / FOLDER / f"mark-{name}.json"
