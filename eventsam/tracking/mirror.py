"""A run's folder, mirrored to MLflow by a thread of the process that started the run; nobody waits for the server."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from eventsam.metrics_log import MetricsLog
from eventsam.tracking.card import RunCard, check_uri, masked, new_key, read_card, write_card
from eventsam.tracking.mark import Waiting, waiting
from eventsam.tracking.outbox import Outbox, Status
from eventsam.tracking.replay import Replay
from eventsam.tracking.writer_lock import WriterLock

log = logging.getLogger(__name__)

POLL_S, LONGEST_PAUSE_S = 1.0, 30.0


class MlflowMirror:
    """One MLflow run for one folder, whatever restarts happen on either side.

    All that is said here is written into the folder first and sent by a thread, in order; how far the server took it is
    kept beside it. A server that is away thus stalls nothing and loses nothing: the copy goes on when it answers again,
    in this process, in the next run beside this one, or by `eventsam track FOLDER`.

    Raises:
        RunInUseError: another process writes this run.
        ValueError: the URI is none that MLflow serves.
    """

    def __init__(
        self,
        folder: Path,
        uri: str,
        experiment: str,
        name: str | None = None,
        *,
        tags: Mapping[str, str],
        parameters: Mapping[str, Any],
        parent: "MlflowMirror | Path | str | None" = None,
        resume_key: str | None = None,
        artifacts: Path | None = None,
    ) -> None:
        self.folder, self.uri = folder.absolute(), check_uri(uri)
        self.metrics_log = MetricsLog(self.folder / "metrics.jsonl")
        self.outbox = Outbox(self.folder)
        texts = {key: str(value) for key, value in parameters.items()}
        self._lock = WriterLock(self.folder)
        try:
            card = self._known_card(texts, resume_key)
            if card is None:
                name = name or folder.name
                files = artifacts.absolute().as_uri() if artifacts is not None else None
                key = resume_key or new_key(name)
                card = RunCard(uri, experiment, name, key, dict(tags), texts, *_parent(parent), files)
                self._forget()
            else:
                card = replace(card, uri=uri)
                self.outbox.tags(tags)
            write_card(self.folder, card)
        except BaseException:
            self._lock.release()
            raise
        self.key = card.key
        self.outbox.status("RUNNING")
        self._replay = Replay(self.folder, self.uri)
        self._ending, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"mlflow {folder.name}", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str | None:
        """The run's id on the server, None before the server heard of it."""
        return self._replay.run_id

    @property
    def waiting(self) -> Waiting:
        """What the server has not taken yet."""
        return waiting(self.folder, self.uri)

    def picture(self, name: str, png: bytes, folder: Path) -> None:
        """Keep a PNG under `figures/` of the run, and in `folder`."""
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
        self.file(path, "figures")

    def file(self, path: Path, place: str) -> None:
        """Keep one file under `place` of the run; it is read when it is sent."""
        self.outbox.file(path, place)

    def artifacts(self, folder: Path, place: str) -> None:
        """Keep a folder's files under `place` of the run; they are read when they are sent."""
        self.outbox.file(folder, place)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Report numbers that are in no log, such as an evaluation's."""
        self.outbox.metrics(values, step)

    def tag(self, values: Mapping[str, str]) -> None:
        """Set tags of the run."""
        self.outbox.tags(values)

    def register(self, model: str, checkpoint: Path) -> None:
        """Make a checkpoint's folder a version of a registered model: its files as they are, nothing to unpickle."""
        self.outbox.version(model, checkpoint)

    def finish(self, status: Status, timeout_s: float = 30.0) -> None:
        """End the run with an MLflow status, after at most `timeout_s` seconds.

        What the server does not take by then waits in the folder; a warning says how much, and how to send it.
        """
        self.outbox.status(status)
        self._ending.set()
        # Not Thread.join: interrupted by Ctrl-C, it takes a living thread for a dead one (CPython 3.11).
        self._ended.wait(timeout_s)
        left = self.waiting
        if left:
            log.warning(
                "MLflow at %s did not take the end of run %s: %s wait in %s; send them with: eventsam track %s",
                masked(self.uri), self.folder.name, left, self.folder, self.folder,
            )  # fmt: skip

    def _known_card(self, parameters: Mapping[str, str], resume_key: str | None) -> RunCard | None:
        """Return the folder's card where this is that run going on, None for a run of its own.

        A run that was refused before its first record and is tried again with other values is another run: MLflow
        keeps a run's parameters for ever.
        """
        before = read_card(self.folder)
        if before is None or (resume_key is not None and before.key != resume_key):
            return None
        changed = dict(before.parameters) != dict(parameters)
        return None if changed and self.metrics_log.newest() is None else before

    def _forget(self) -> None:
        """Drop what an earlier run of this folder noted of servers."""
        for path in (*self.outbox.path.parent.glob("mark-*.json"), self.outbox.path):
            path.unlink(missing_ok=True)

    def _follow(self) -> None:
        pause_s, away_since = 0.0, None
        try:
            while True:
                ending = self._ending.wait(pause_s)
                try:
                    self._replay.once()
                    pause_s = POLL_S
                    if away_since is not None:
                        log.warning("MLflow answers again after %.0f s; nothing is lost", time.monotonic() - away_since)
                    away_since = None
                except Exception as error:  # whatever the client raises, the folder keeps the records
                    pause_s = min(LONGEST_PAUSE_S, max(POLL_S, pause_s * 2))
                    if away_since is None:
                        away_since = time.monotonic()
                        log.warning("MLflow did not answer (%s); records wait in %s", error, self.folder)
                if ending:
                    return
        finally:
            self._lock.release()
            self._ended.set()


def _parent(parent: "MlflowMirror | Path | str | None") -> tuple[str | None, str | None]:
    """Return the parent's key and folder; a text is a key or an MLflow run id."""
    if isinstance(parent, MlflowMirror):
        return parent.key, str(parent.folder)
    if isinstance(parent, Path):
        card = read_card(parent)
        if card is None:
            raise FileNotFoundError(f"{parent} holds no tracked run to be a parent: open its run first")
        return card.key, str(parent.absolute())
    return parent, None
