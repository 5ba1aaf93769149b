"""The run's own record: one JSON object per line beside its checkpoints; the truth that MLflow mirrors."""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MetricsLog:
    """The run's own record: one JSON object per line, appended and flushed; the truth that MLflow mirrors."""

    path: Path

    def append(self, record: Mapping[str, float]) -> None:
        """Write one record with the time."""
        append_line(self.path, {**record, "time": time.time()})

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
        for line in reversed(lines):
            record = _parsed(line)
            if record is not None:
                return record
        return None


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON object as a line, in one write; half a line that a killed writer left is closed off first."""
    data = json.dumps(record).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        written = os.write(descriptor, data)
        if written != len(data):
            raise OSError(f"{path}: {written} of {len(data)} bytes could be written; is the disk full?")
    finally:
        os.close(descriptor)


def records_from(path: Path, offset: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield (offset behind the record, record) for every whole line from `offset`; a broken line is skipped."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # a writer is in the middle of this line
            start, offset = offset, offset + len(line)
            record = _parsed(line)
            if record is None:
                log.warning("%s: the line at byte %d is no JSON object (its writer was killed); skipped", path, start)
                continue
            yield offset, record


def _parsed(line: bytes) -> dict[str, float] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
