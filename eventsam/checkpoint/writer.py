"""Writes checkpoints behind the training's back: one at a time, failures told at the next step, joined at the end."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eventsam.checkpoint.state import Snapshot
from eventsam.checkpoint.storage import CheckpointWriteError, Storage, step_of

log = logging.getLogger(__name__)


@dataclass
class Writer:
    """The one writer of a run's checkpoints.

    `behind` writes in a thread while training goes on; otherwise `submit` returns when the checkpoint is on the disk.
    `last` is the newest committed checkpoint.
    """

    storage: Storage
    keep_last: int
    behind: bool = True
    last: str | None = None
    error: CheckpointWriteError | None = None
    thread: threading.Thread | None = field(default=None, repr=False)

    def start(self, num_bytes: int, best: Mapping[str, Any] | None) -> None:
        """Find out before the first step that a checkpoint of `num_bytes` can be written, and mend what a kill left.

        `best` are the numbers that the run goes on with: a kill may have come between a checkpoint and its pointer.
        What fails is kept in `error`.
        """
        try:
            self.storage.probe(num_bytes)
            self.storage.clean()
            names = [] if best is None else [n for n in self.storage.names() if step_of(n) == best["step"]]
            if best is not None and names and self.storage.best() != names[-1]:
                self.storage.point(names[-1], best)
        except CheckpointWriteError as error:
            self.error = error

    def submit(self, snapshot: Snapshot, best: Mapping[str, Any] | None = None) -> None:
        """Write a snapshot; with `best`, the numbers that make it the best so far, let the pointer say so.

        Waits for the one before it. After a failure nothing more is written.
        """
        self.join()
        if self.error is not None:
            return
        self.thread = threading.Thread(target=self._write, args=(snapshot, best), name="checkpoint writer")
        self.thread.start()
        if not self.behind:
            self.join()

    def join(self) -> None:
        """Wait until nothing is being written."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def _write(self, snapshot: Snapshot, best: Mapping[str, Any] | None) -> None:
        started = time.perf_counter()
        try:
            name = self.storage.commit(snapshot)
            self.last = name
            if best is not None:
                self.storage.point(name, best)
            self.storage.keep(self.keep_last)
            log.info("checkpoint %s written in %.2f s", name, time.perf_counter() - started)
        except Exception as error:  # told to the training, which is another thread
            self.fail(f"the checkpoint of step {snapshot.step} could not be written to {self.storage.location}", error)

    def fail(self, what: str, error: Exception) -> None:
        """Keep a failure for the training to raise; the first one is the cause of those that follow."""
        if self.error is not None:
            return
        failure = CheckpointWriteError(
            f"{what}: {type(error).__name__}: {error}. The last good checkpoint is {self.last or self._newest()}; make "
            "room or mend the storage, then go on with --resume"
        )
        failure.__cause__ = error
        self.error = failure

    def _newest(self) -> str:
        try:
            return self.storage.newest() or "none"
        except Exception:  # the storage is away: there is nothing better to say
            log.exception("%s cannot be listed", self.storage.location)
            return "unknown, as it cannot be listed"
