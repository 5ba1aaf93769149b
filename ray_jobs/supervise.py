"""Around one training: its folder and MLflow run, progress for people, and Ctrl-C that saves before it ends."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from eventsam.catalog import absolute
from eventsam.checkpoint import CheckpointWriteError
from eventsam.faults.step_watch import Watching
from eventsam.metrics_log import MetricsLog
from eventsam.recipe import recipe_hash
from eventsam.spec import Spec, get
from eventsam.tracking.catch_up import start_catching_up
from eventsam.tracking.outbox import Outbox, Status
from eventsam.tracking.parameters import nearest_recipe, note_of, parameters_of
from eventsam.tracking.system_usage import watched_usage
from ray_jobs.cluster import Resources
from ray_jobs.cluster_usage import cluster_usage
from ray_jobs.retry import Retries
from ray_jobs.termination import ask_to_stop, asked_status, stopping_on_sigterm
from ray_jobs.tracked import Tracking, keep_results
from ray_jobs.train import Keeping, Outcome, launch

log = logging.getLogger(__name__)
console = Console(stderr=True)

T = TypeVar("T")


def train(
    recipe: Spec,
    folder: Path,
    resources: Resources,
    tracking: Tracking,
    keeping: Keeping | None = None,
    retries: Retries | None = None,
    watching: Watching | None = None,
) -> Outcome:
    """Train a recipe in `folder` with progress on the screen and everything mirrored to MLflow.

    Ctrl-C saves a checkpoint and ends with status "interrupted", SIGTERM with "preempted"; a second one gives up at
    once.

    Raises:
        RunInUseError: another process trains this run.
        CheckpointWriteError: nothing can be written to `folder`, or else as `launch` raises it.
    """
    folder = absolute(folder)
    name, changes = nearest_recipe(recipe)
    note = note_of(name, changes, {"folder": str(folder)})
    tags = {"recipe": name, "recipe_hash": recipe_hash(recipe), "mlflow.note.content": note}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ended, before = Outbox(folder).last_status(), MetricsLog(folder / "metrics.jsonl").newest()
        mirror = tracking.open(folder, parameters_of(recipe, changes), tags)
    except OSError as error:
        if error.errno is None:
            raise
        raise CheckpointWriteError(f"the run's folder {folder} cannot be written: {error}") from error
    start_catching_up(folder.parent, mirror.uri, folder)
    status: Status = "FAILED"

    def run() -> Outcome:
        return launch(recipe, folder, resources, keeping=keeping, retries=retries, watching=watching)

    try:
        with watched_usage(folder, cluster_usage):
            outcome = _watched(run, folder, _num_steps(recipe))
        status = "FINISHED" if outcome.status == "finished" else "KILLED"
        mirror.tag({"catalog_hash": outcome.catalog_hash})
        if tracking.register is not None and status == "FINISHED":
            mirror.register(tracking.register, outcome.best)
        return outcome
    except BaseException as error:
        if ended in ("FINISHED", "FAILED", "KILLED") and before is not None and before == mirror.metrics_log.newest():
            status = ended  # the run was refused before it went on; what it had reached stands
        else:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else status
            reason = f"{type(error).__name__}: {error}"
            _try(folder, lambda: mirror.tag({"error": reason}))
        raise
    finally:
        _try(folder, lambda: keep_results(mirror))
        _try(folder, lambda: mirror.finish(status))


def _try(folder: Path, tell: Callable[[], None]) -> None:
    """Tell MLflow something; the training's own outcome stands, whatever cannot be told of it, as on a full disk."""
    try:
        tell()
    except Exception as error:
        log.warning("what run %s leaves for MLflow could not all be gathered: %s", folder.name, error)


def _watched(run: Callable[[], T], folder: Path, num_steps: int) -> T:
    """Run in a thread, so that this one can show progress and hear Ctrl-C."""
    results: list[T] = []
    errors: list[BaseException] = []
    # Not Thread.join: interrupted by Ctrl-C, it takes a living thread for a dead one (CPython 3.11).
    done = threading.Event()

    def target() -> None:
        try:
            results.append(run())
        except BaseException as error:  # raised again below, in the thread that asked
            errors.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=target, name="training", daemon=True)
    thread.start()
    with stopping_on_sigterm(folder), _Display(folder, num_steps) as display:
        stopping = False
        while not done.is_set():
            try:
                done.wait(0.5)
                display.refresh()
                if stopping and asked_status(folder) is None:
                    ask_to_stop(folder, "interrupted")  # a launch that had just begun took the file for an old one
            except KeyboardInterrupt:
                if stopping:
                    raise
                stopping = True
                ask_to_stop(folder, "interrupted")
                console.print("stopping: saving a checkpoint first (Ctrl-C again gives up at once)")
    if errors:
        raise errors[0]
    return results[0]


class _Display:
    """A progress bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, folder: Path, num_steps: int) -> None:
        self.log, self.num_steps, self.name = MetricsLog(folder / "metrics.jsonl"), num_steps, folder.name
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                   TextColumn("{task.fields[numbers]}"), TimeRemainingColumn())  # fmt: skip
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal, transient=False)
        self.bar: TaskID | None = None
        self.printed = time.monotonic()

    def __enter__(self) -> "_Display":
        self.progress.start()
        self.bar = self.progress.add_task(self.name, total=self.num_steps, numbers="starting")
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh()
        self.progress.stop()

    def refresh(self) -> None:
        """Show the newest record."""
        record = self.log.newest()
        if record is None or self.bar is None:
            return
        numbers = " ".join(f"{key} {record[key]:.4g}" for key in ("loss", "val/viou", "val/cosine") if key in record)
        self.progress.update(self.bar, completed=record["step"], numbers=numbers)
        if not console.is_terminal and time.monotonic() - self.printed > 10:
            self.printed = time.monotonic()
            sys.stderr.write(f"{self.name}: step {record['step']:.0f} of {self.num_steps}, {numbers}\n")
            sys.stderr.flush()


def _num_steps(recipe: Spec) -> int:
    samples, batch = get(recipe, "budget.num_samples"), get(recipe, "budget.global_batch_size")
    return -(-int(samples) // int(batch))
