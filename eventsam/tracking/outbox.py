"""What a run wants said besides its logs, in order: tags, files, model versions, its status."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from eventsam.metrics_log import append_line, records_from
from eventsam.tracking.card import FOLDER

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Outbox:
    """One entry per line in the run's folder; a replay sends them in order."""

    folder: Path

    @property
    def path(self) -> Path:
        """The file of the entries."""
        return self.folder / FOLDER / "outbox.jsonl"

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._append(kind="tags", values=dict(values))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Report numbers that are in no log."""
        self._append(kind="metrics", values=dict(values), step=step)

    def file(self, path: Path, place: str) -> None:
        """Keep a file, or the files of a folder, under `place`."""
        self._append(kind="file", path=str(path.absolute()), place=place)

    def version(self, model: str, path: Path) -> None:
        """Register a folder's files as a new version of a model."""
        self._append(kind="version", model=model, path=str(path.absolute()))

    def status(self, status: Status) -> None:
        """Change the run's status."""
        self._append(kind="status", status=status)

    def entries(self, offset: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (offset behind the entry, entry) from `offset`."""
        yield from records_from(self.path, offset)

    def last_status(self) -> Status | None:
        """Return the status that was asked for last, None if none was."""
        found = [entry["status"] for _, entry in self.entries() if entry["kind"] == "status"]
        return cast(Status, found[-1]) if found else None

    def _append(self, **entry: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_line(self.path, {**entry, "time": time.time()})
