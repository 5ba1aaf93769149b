"""The run's own record: one JSON object per line beside its checkpoints; the truth that MLflow mirrors."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MetricsLog:
    """The run's own record: one JSON object per line, appended and flushed; the truth that MLflow mirrors."""

    path: Path

    def append(self, record: Mapping[str, float]) -> None:
        """Write one record with the time."""
        with self.path.open("a") as file:
            file.write(json.dumps({**record, "time": time.time()}) + "\n")

    def read(self) -> list[dict[str, float]]:
        """Return all records; of a step that was redone after a restart, the later record of each name wins."""
        merged: dict[int, dict[str, float]] = {}
        for record in records_from(self.path, 0):
            merged.setdefault(int(record[1]["step"]), {}).update(record[1])
        return [merged[step] for step in sorted(merged)]

    def newest(self) -> dict[str, float] | None:
        """Return the last whole record, or None; looks at the end of the file alone."""
        if not self.path.exists():
            return None
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 16384))
            lines = file.read().split(b"\n")[:-1]
        record: dict[str, float] | None = json.loads(lines[-1]) if lines else None
        return record


def records_from(path: Path, offset: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield (offset behind the record, record) for every whole line from `offset`."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # a writer is in the middle of this line
            offset += len(line)
            yield offset, json.loads(line)
