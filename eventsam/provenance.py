"""What produced a result: a hash of the code and a sampler of the memory that a program and its children hold."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

import eventsam


@cache
def code_hash() -> str:
    """Return a short hash of the project's own source files, so that an edited checkout shows."""
    root = Path(eventsam.__file__).parents[1]
    digest = hashlib.sha256()
    for package in ("eventsam", "ray_jobs", "datasets_catalog", "search_spaces"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@dataclass
class PeakMemory:
    """The most bytes that this process and all its descendants held at once."""

    num_bytes: int = 0

    def sample(self) -> None:
        """Look once and keep the larger value."""
        me = psutil.Process()
        self.num_bytes = max(self.num_bytes, sum(_own_bytes(process) for process in [me, *me.children(recursive=True)]))


@contextmanager
def watched_memory(interval_s: float = 2.0) -> Iterator[PeakMemory]:
    """Sample the memory of this process and its descendants for the time of the block."""
    peak, ended = PeakMemory(), threading.Event()

    def watch() -> None:
        while not ended.wait(interval_s):
            peak.sample()

    thread = threading.Thread(target=watch, name="peak-memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        peak.sample()


def _own_bytes(process: psutil.Process) -> int:
    """Memory that is a process's own; pages shared with others (Ray's object store) count by their share."""
    try:
        memory = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return int(getattr(memory, "pss", 0) or memory.uss)
