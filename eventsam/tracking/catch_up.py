"""Runs that ended while their server was away: found among other runs, and sent by a later command."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eventsam.tracking.card import FOLDER, masked, read_card
from eventsam.tracking.links import checkpoint_links
from eventsam.tracking.mark import Waiting, read_mark, waiting
from eventsam.tracking.outbox import Outbox
from eventsam.tracking.replay import Replay
from eventsam.tracking.writer_lock import RunInUseError, WriterLock

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caught:
    """What a replay of one folder came to: what waited before, what waits now, and why if anything does."""

    folder: Path
    run_id: str | None
    before: Waiting
    left: Waiting
    reason: str = ""


def tracked_folders(folder: Path) -> Iterator[Path]:
    """Yield a tracked run's folder, else the tracked runs in it, one or two levels down."""
    if (folder / FOLDER / "card.json").exists():
        yield folder
        return
    for pattern in (f"*/{FOLDER}/card.json", f"*/*/{FOLDER}/card.json"):
        for card in sorted(folder.glob(pattern)):
            yield card.parent.parent


def catch_up(folder: Path, uri: str | None = None) -> Caught:
    """Send what waits in a run's folder to its server, or to another one.

    A run whose process is gone without having ended is marked KILLED, with links to what it has saved. One that is
    being written is left to its writer.
    """
    card = read_card(folder)
    if card is None:
        raise FileNotFoundError(f"{folder} holds no tracked run: {FOLDER}/card.json is missing")
    target = uri or card.uri
    before = waiting(folder, target)
    try:
        lock = WriterLock(folder, "replay")
    except RunInUseError as error:
        return Caught(folder, read_mark(folder, target).run_id, before, before, str(error))
    reason = ""
    try:
        replay = Replay(folder, uri)
        if Outbox(folder).last_status() == "RUNNING" and lock.certain:
            _end(folder)
        try:
            replay.once()
        except Exception as error:  # whatever the client raises, the folder keeps the records
            reason = str(error)
    finally:
        lock.release()
    return Caught(folder, read_mark(folder, target).run_id, before, waiting(folder, target), reason)


def start_catching_up(runs: Path, uri: str, but: Path) -> threading.Thread:
    """Send, in the background, what the runs beside a new one still owe the same server."""

    def work() -> None:
        try:
            for folder in tracked_folders(runs):
                if folder != but and _owes(folder, uri):
                    caught = catch_up(folder, uri)
                    done = "still waits" if caught.left else "is at MLflow now"
                    log.info("what waited in %s (%s) %s %s", folder, caught.before, done, caught.reason)
        except (OSError, ValueError) as error:
            log.warning("runs in %s could not be looked through for waiting records: %s", runs, error)

    thread = threading.Thread(target=work, name="mlflow-catch-up", daemon=True)
    thread.start()
    return thread


def _end(folder: Path) -> None:
    outbox = Outbox(folder)
    try:
        outbox.tags(checkpoint_links(folder))
    except Exception as error:  # a storage that is away has errors of its own; the run's end is told all the same
        log.warning("where the checkpoints of %s lie could not be found: %s", folder, error)
    outbox.status("KILLED")


def _owes(folder: Path, uri: str) -> bool:
    card = read_card(folder)
    if card is None or card.uri != masked(uri):
        return False
    return bool(waiting(folder, uri)) or Outbox(folder).last_status() == "RUNNING"
