"""A sweep's folder: what is swept, its points, what each trial reached, and the journal of the scheduler's decisions.

Every fact is written whole or not at all, by one writer: the trial's process owns `trial.json` and `metrics.jsonl` of
its point, the driver owns the rest. A driver that is killed loses nothing: the next one reads the folder.
"""

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eventsam.metrics_log import MetricsLog
from search_spaces import Drawn

log = logging.getLogger(__name__)

VERSION = 1
RUNNING, FINISHED, STOPPED, FAILED, WAITING = "running", "finished", "stopped", "failed", "waiting"
BEGUN = "begun"
ENDED = (FINISHED, STOPPED, FAILED)


@dataclass(frozen=True)
class TrialState:
    """What a trial has reached: `values` are the drawn ones (population based training changes them on the way).

    Times are seconds of wall clock, summed over all processes that worked on the trial; `rest_s` is what it waited for
    the scheduler. `history` tells where its weights came from other trials. `score` is the newest one, the mean over
    seeds.
    """

    status: str = WAITING
    values: Mapping[str, Drawn] = field(default_factory=dict)
    samples: int = 0
    score: float | None = None
    low: float | None = None
    high: float | None = None
    cause: str = ""
    generation: int = 0
    seconds: float = 0.0
    train_s: float = 0.0
    data_wait_s: float = 0.0
    rest_s: float = 0.0
    starts: int = 0
    history: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class TrialFolder:
    """One point's folder below `trials/`."""

    path: Path

    @property
    def name(self) -> str:
        """Return the point's name."""
        return self.path.name

    @property
    def log(self) -> MetricsLog:
        """Return the trial's own log: one record per validation."""
        return MetricsLog(self.path / "metrics.jsonl")

    def fit_folder(self, seed: int, generation: int) -> Path:
        """Return the run folder of one seed; every clone of another trial's weights starts a new one."""
        return self.path / (f"seed_{seed}" if generation == 0 else f"seed_{seed}_clone_{generation}")

    def fit_folders(self) -> list[tuple[Path, int]]:
        """Return the run folders of all seeds so far, each with how many clones came before it."""
        return [(path, int(path.name.partition("_clone_")[2] or 0)) for path in sorted(self.path.glob("seed_*"))]

    def write_point(self, values: Mapping[str, Drawn]) -> None:
        """Record the values drawn for this point, unless they are recorded."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "point.json").exists():
            write_whole(self.path / "point.json", dict(values))

    def read_point(self) -> dict[str, Drawn]:
        """Return the values drawn for this point."""
        values: dict[str, Drawn] = json.loads((self.path / "point.json").read_text())
        return values

    def write_state(self, state: TrialState) -> None:
        """Record what the trial has reached."""
        write_whole(self.path / "trial.json", {**state.__dict__, "values": dict(state.values)})

    def read_state(self) -> TrialState:
        """Return what the trial has reached, by its own record and, for trials that were stopped, the journal's."""
        if not (self.path / "trial.json").exists():
            return TrialState(values=self.read_point())
        record = json.loads((self.path / "trial.json").read_text())
        return TrialState(**{**record, "history": tuple(record["history"])})

    @contextmanager
    def held(self, timeout_s: float = 60.0) -> Iterator[None]:
        """Keep other processes off this trial: the one of a killed driver may take its time to end."""
        with held(self.path / "lock", f"trial {self.path}", timeout_s):
            yield


@dataclass(frozen=True)
class SweepFolder:
    """A sweep's folder."""

    path: Path

    @property
    def trials(self) -> list[TrialFolder]:
        """Return the folders of all points, in their order."""
        return [TrialFolder(path.parent) for path in sorted(self.path.glob("trials/*/point.json"))]

    def trial(self, name: str) -> TrialFolder:
        """Return the folder of a point."""
        return TrialFolder(self.path / "trials" / name)

    @property
    def exists(self) -> bool:
        """Say whether a sweep was started here."""
        return (self.path / "sweep.json").exists()

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write what is swept and how."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / "sweep.json", {"version": VERSION, **record})

    def read_record(self) -> dict[str, Any]:
        """Return what is swept and how.

        Raises:
            FileNotFoundError: there is no sweep here.
            ValueError: it was written by another version of the format.
        """
        if not self.exists:
            known = sorted(path.parent.name for path in self.path.parent.glob("*/sweep.json"))
            raise FileNotFoundError(
                f"there is no sweep in {self.path} (sweeps beside it: {', '.join(known) or 'none'})"
            )
        record: dict[str, Any] = json.loads((self.path / "sweep.json").read_text())
        if record.pop("version") != VERSION:
            raise ValueError(f"{self.path}/sweep.json was written by another release; start a new sweep")
        return record

    def begin(self) -> None:
        """Add the start of a driver to the journal."""
        self.decide("", BEGUN)

    def wall_s(self) -> float:
        """Return for how many seconds drivers ran, each from its start to the last thing that was written after it."""
        begun = [record["time"] for record in self._journal() if record["status"] == BEGUN]
        written = [record["time"] for record in self._journal() if record["status"] != BEGUN]
        written += [record["time"] for trial in self.trials for record in trial.log.read()]
        total = 0.0
        for start, after in zip(begun, [*begun[1:], float("inf")], strict=True):
            total += max((stamp - start for stamp in written if start <= stamp < after), default=0.0)
        return total

    def decide(self, name: str, status: str, cause: str = "") -> None:
        """Add a decision on a trial to the journal."""
        record = {"trial": name, "status": status, "cause": cause, "time": time.time()}
        with (self.path / "journal.jsonl").open("a") as file:
            # On a line of its own, whatever a killed driver left behind.
            file.write(("\n" if file.tell() else "") + json.dumps(record))
            file.flush()
            os.fsync(file.fileno())

    def states(self) -> dict[str, TrialState]:
        """Return what every trial has reached; a decision of the journal ends what its own record calls running."""
        decisions = self._decisions()
        states = {}
        for trial in self.trials:
            state = trial.read_state()
            decided = decisions.get(trial.name)
            if decided and state.status not in ENDED:
                state = TrialState(**{**state.__dict__, "status": decided["status"], "cause": decided["cause"]})
            states[trial.name] = state
        return states

    def _decisions(self) -> dict[str, dict[str, Any]]:
        return {record["trial"]: record for record in self._journal() if record["status"] != BEGUN}

    def _journal(self) -> list[dict[str, Any]]:
        path = self.path / "journal.jsonl"
        if not path.exists():
            return []
        # A line that a killed driver was writing is none: what it says did not happen.
        records: list[dict[str, Any]] = []
        for line in path.read_text().split("\n"):
            with suppress(json.JSONDecodeError):
                records.append(json.loads(line))
        return records

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other drivers off this sweep."""
        with held(self.path / "lock", f"sweep {self.path}", 2.0):
            yield


def write_whole(path: Path, value: Any) -> None:
    """Write JSON to a file so that a reader sees all of it or what was there before, even after a power cut."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def held(path: Path, what: str, timeout_s: float) -> Iterator[None]:
    """Hold a lock file that the system frees when its holder dies.

    Raises:
        ValueError: somebody else holds it; the message says who.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise ValueError(f"{what} is being worked on by {file.read() or 'another process'}") from None
                time.sleep(0.1)
            except OSError as error:
                # Some shared file systems have no locks; nobody is refused for that.
                log.warning("%s: no locks on this file system (%s)", path, error)
                break
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def json_differences(before: Any, after: Any, path: str = "") -> list[str]:
    """Return one line per place where two JSON values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        lines = []
        for key in [*before, *(key for key in after if key not in before)]:
            place = f"{path}.{key}" if path else key
            lines += json_differences(before.get(key, "(absent)"), after.get(key, "(absent)"), place)
        return lines
    return [] if before == after else [f"{path}: {before} -> {after}"]
