"""What produced a result: hashes of code and environment, and the memory that a program and its children hold."""

import hashlib
import importlib.metadata
import json
import platform
import subprocess
import threading
from collections.abc import Iterator, Mapping
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


@cache
def environment() -> Mapping[str, str]:
    """Return the versions of Python and of all installed packages, and the kind of machine."""
    packages = {
        str(package.name).lower(): package.version for package in importlib.metadata.distributions() if package.name
    }
    return {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()} | dict(
        sorted(packages.items())
    )


@cache
def environment_hash() -> str:
    """Return a short hash of `environment()`."""
    return hashlib.sha256(json.dumps(environment(), sort_keys=True).encode()).hexdigest()[:12]


@cache
def git_commit() -> str | None:
    """Return the commit of the checkout that the code runs from, None where there is none."""
    command = ["git", "-C", str(Path(eventsam.__file__).parents[1]), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


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
