"""One writer per run's folder: two processes of one name would mix their checkpoints and records."""

import fcntl
import json
import logging
import os
import socket
from datetime import datetime
from pathlib import Path

from eventsam.tracking.card import FOLDER

log = logging.getLogger(__name__)


class RunInUseError(ValueError):
    """Another process writes this run; the message says which."""


class WriterLock:
    """Held from construction to `release`, or to the end of the process however it ends.

    `certain` is False where the file system has no locks: then another writer may be at work.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FOLDER / "writer.lock"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self.certain = True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            raise RunInUseError(
                f"{folder} is being written by {self._holder()}: wait for it, stop it, or choose another name"
            ) from None
        except OSError as error:
            self.certain = False
            # Some shared file systems have no locks; a run is not refused for that.
            log.warning(
                "%s: no locks on this file system (%s): nothing keeps two runs of one name apart", folder, error
            )
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(me).encode(), 0)

    def release(self) -> None:
        """Let others write."""
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _holder(self) -> str:
        who = self._read()
        return f"process {who['pid']} on {who['host']} since {who['since']}" if who else "another process"

    def _read(self) -> dict[str, object]:
        try:
            record = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}
