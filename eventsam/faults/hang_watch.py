"""The hang watchdog: where no step ends for too long, every worker writes down its stacks and its process exits.

A thread in each worker counts the steps of its own process and reads the counts of the others from small files in the
run's folder. The first to see a count stand still too long leaves a notice; all workers that see it dump their stacks,
wait a little for each other, and exit with `HANG_EXIT_CODE`, so that Ray Train starts them again and counts a failure.
Clocks of different machines are never compared: a count is judged by the reader's own clock.

A thread that holds Python's lock would stop this one too. For that case faulthandler keeps a timer of its own, outside
of Python, which this thread winds up again and again.
"""

import faulthandler
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

log = logging.getLogger(__name__)

HANG_EXIT_CODE = 75
FOLDER = "heartbeats"
NOTICE = "hang.json"
LAST_WORDS_S = 10.0
"""How long a worker waits for the stacks of the others."""
BUNDLE_S = 60.0
"""How long writing a bundle may take before the process ends without it."""


@dataclass
class HangWatch:
    """Watches the steps of one worker and of its peers, for the time of a `with` block.

    Args:
        folder: the run's folder, which all workers see.
        limit_s: how long a count may stand still: longer than the longest step, the first one (which waits for the
            first data) and a validation batch. 0 watches nothing.
        on_hang: writes this worker's part of the failure bundle and returns the bundle's folder.
        exits: end the process; without, the hang is written down and the process left alone.
    """

    folder: Path
    rank: int
    world_size: int
    limit_s: float
    on_hang: Callable[[str], Path]
    exits: bool = True
    _beats: int = 0
    _seen: dict[int, tuple[int, float]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def beat(self) -> None:
        """Say that something was finished: a step, a batch of a validation."""
        self._beats += 1

    def __enter__(self) -> "HangWatch":
        if self.limit_s > 0:
            (self.folder / FOLDER).mkdir(parents=True, exist_ok=True)
            (self.folder / FOLDER / NOTICE).unlink(missing_ok=True)
            self._heartbeat(self.rank).unlink(missing_ok=True)
            self._thread = threading.Thread(target=self._watch, name="hang-watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(LAST_WORDS_S)
            # Whoever is done is no longer waited for.
            self._heartbeat(self.rank).unlink(missing_ok=True)

    @property
    def _poll_s(self) -> float:
        return min(5.0, self.limit_s / 10)

    def _heartbeat(self, rank: int) -> Path:
        return self.folder / FOLDER / f"rank_{rank}.json"

    def _watch(self) -> None:
        with (self.folder / FOLDER / f"rank_{self.rank}.stacks.txt").open("w") as stacks:
            try:
                while not self._ended.wait(self._poll_s):
                    self._wind(stacks, self.limit_s + self._poll_s)
                    reason = self._look()
                    if reason is not None:
                        self._wind(stacks, BUNDLE_S + LAST_WORDS_S)
                        self._end(reason)
                        return
            finally:
                if self.exits:
                    faulthandler.cancel_dump_traceback_later()

    def _look(self) -> str | None:
        """Tell the others how far this worker is, and say what stands still."""
        try:
            self._tell()
            return self._noticed() or self._stuck()
        except OSError as error:  # a full disk, a file system that is away for a moment: the watch goes on
            log.warning("the watch for hangs cannot use %s: %s", self.folder / FOLDER, error)
            return None

    def _wind(self, stacks: TextIO, seconds: float) -> None:
        if self.exits:
            faulthandler.dump_traceback_later(seconds, exit=True, file=stacks)

    def _tell(self) -> None:
        partial = self._heartbeat(self.rank).with_suffix(".partial")
        partial.write_text(json.dumps({"beats": self._beats, "process": os.getpid(), "time": time.time()}))
        partial.replace(self._heartbeat(self.rank))

    def _noticed(self) -> str | None:
        try:
            return str(json.loads((self.folder / FOLDER / NOTICE).read_text())["reason"])
        except (FileNotFoundError, ValueError):
            return None

    def _stuck(self) -> str | None:
        """Say which worker's count has stood still too long; a peer without a file has ended or not begun."""
        now = time.monotonic()
        for rank in range(self.world_size):
            beats = self._beats if rank == self.rank else self._beats_of(rank)
            if beats is None:
                self._seen.pop(rank, None)
                continue
            known = self._seen.get(rank)
            if known is None or known[0] != beats:
                self._seen[rank] = (beats, now)
            elif now - known[1] > self.limit_s:
                reason = f"worker {rank} of {self.world_size} has finished no step for {now - known[1]:.0f} s"
                partial = self.folder / FOLDER / f".{NOTICE}.{self.rank}.partial"
                partial.write_text(json.dumps({"reason": reason, "noticed_by": self.rank}))
                partial.replace(self.folder / FOLDER / NOTICE)
                return reason
        return None

    def _beats_of(self, rank: int) -> int | None:
        try:
            return int(json.loads(self._heartbeat(rank).read_text())["beats"])
        except (FileNotFoundError, ValueError):
            return None

    def _end(self, reason: str) -> None:
        log.error("hang: %s; writing down what every thread is doing", reason)
        try:
            self._wait_for_others(self.on_hang(reason))
        except Exception:  # the process has to end, whatever becomes of the bundle
            log.exception("the failure bundle could not be written")
        if self.exits:
            os._exit(HANG_EXIT_CODE)

    def _wait_for_others(self, bundle: Path) -> None:
        deadline = time.monotonic() + LAST_WORDS_S if self.exits else 0.0
        while time.monotonic() < deadline and len(list(bundle.glob("rank_*.stacks.txt"))) < self.world_size:
            time.sleep(0.1)
