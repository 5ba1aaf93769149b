"""SIGTERM, the notice that spot machines and jobs get: the run saves at once and ends, or a worker is replaced."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ray.train.v2._internal.execution.callback import WorkerGroupCallback

STOP_FILE = "stop"
"""A file of this name in a run's folder makes its workers save a checkpoint and end; its text is the status."""

TERMINATED = threading.Event()
"""Set when this process was sent SIGTERM."""

_LISTENING = threading.Event()


@contextmanager
def listening() -> Iterator[None]:
    """Keep this process alive through one SIGTERM for the time of the block, in which it is to look at TERMINATED."""
    _LISTENING.set()
    try:
        yield
    finally:
        _LISTENING.clear()


@contextmanager
def stopping_on_sigterm(folder: Path) -> Iterator[None]:
    """Have SIGTERM stop the run of a folder with status "preempted"; for the main thread of the one who launches.

    A second SIGTERM ends the process as it would have without this. In another thread nothing changes: signals are
    its process's business.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop() -> None:
        ask_to_stop(folder, "preempted")

    previous = _handle(stop)
    try:
        with listening():
            yield
    finally:
        signal.signal(signal.SIGTERM, previous)
        TERMINATED.clear()


def ask_to_stop(folder: Path, status: str) -> None:
    """Make the workers of a folder's run save a checkpoint and end with a status."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STOP_FILE).write_text(status)


def asked_status(folder: Path) -> str | None:
    """Return the status with which a folder's run is asked to end, None where nobody asked."""
    try:
        text = (folder / STOP_FILE).read_text().strip()
    except FileNotFoundError:
        return None
    return "preempted" if text == "preempted" else "interrupted"


class SigtermInWorkers(WorkerGroupCallback):
    """Has the training workers note a SIGTERM instead of dying of it: they save first."""

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Set the handlers; signals are set in a main thread, which runs this, and not the training's."""
        worker_group.execute(note_sigterm)


def note_sigterm() -> None:
    """Have this process's first SIGTERM set TERMINATED while somebody listens."""
    _handle(lambda: None)


def _handle(act: Callable[[], None]) -> Any:
    previous = signal.getsignal(signal.SIGTERM)

    def handler(number: int, frame: FrameType | None) -> None:
        if TERMINATED.is_set() or not _LISTENING.is_set():
            if callable(previous):
                previous(number, frame)
                return
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        # In this order: whoever sees the event finds done what is to be done.
        act()
        TERMINATED.set()

    signal.signal(signal.SIGTERM, handler)
    return previous
