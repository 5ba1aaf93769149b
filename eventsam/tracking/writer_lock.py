"""One writer per run's folder: two processes of one name would mix their checkpoints and records."""

import fcntl
import json
import logging
import os
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Literal

from eventsam.tracking.card import FOLDER

log = logging.getLogger(__name__)

REPLAY_WAIT_S, RETRY_S = 30.0, 0.1


class RunInUseError(ValueError):
    """Another process writes this run; the message says which."""


class WriterLock:
    """Held from construction to `release`, or to the end of the process however it ends.

    A replay holds it for moments only, so that others wait for it. `certain` is False where the file system has no
    locks: then another writer may be at work.
    """

    def __init__(self, folder: Path, role: Literal["writer", "replay"] = "writer") -> None:
        self.folder, self.path = folder, folder / FOLDER / "writer.lock"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self.certain = self._lock(self._descriptor, wait_s=REPLAY_WAIT_S if role == "writer" else 0.0)
        me = {"role": role, "pid": os.getpid(), "host": socket.gethostname(),
              "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}  # fmt: skip
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(me).encode(), 0)

    def release(self) -> None:
        """Let others write."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self, descriptor: int, wait_s: float) -> bool:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                who = self._holder()
                if who.get("role") != "replay" or time.monotonic() > deadline:
                    self.release()
                    raise RunInUseError(
                        f"{self.folder} is being written by {_named(who)}: wait for it, stop it, or choose another name"
                    ) from None
                time.sleep(RETRY_S)
            except OSError as error:
                # Some shared file systems have none; a run is not refused for that.
                log.warning("%s: no locks on this file system (%s); two runs of one name would mix", self.folder, error)
                return False

    def _holder(self) -> dict[str, object]:
        try:
            record = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def _named(who: dict[str, object]) -> str:
    return f"process {who['pid']} on {who['host']} since {who['since']}" if who else "another process"
