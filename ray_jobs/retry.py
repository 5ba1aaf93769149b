"""Launching again: what Ray's own restarts did not mend is tried anew after a wait that grows, up to a limit."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ray.exceptions import RayError
from ray.train import ControllerError, WorkerGroupError

from eventsam.checkpoint import Storage
from eventsam.final_error import clear_final_error, read_final_error
from eventsam.quarantine import FILE as QUARANTINE_FILE
from eventsam.quarantine import write_summary
from ray_jobs.termination import STOP_FILE

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRIED = (WorkerGroupError, ControllerError, RayError)
"""What may pass by itself: lost workers and nodes, a group that could not be placed. Errors of people are not among
them: those come as values from the workers, or are raised before anything starts."""


@dataclass(frozen=True)
class Retries:
    """How often and how patiently a launch is repeated.

    Ray restarts lost workers at once, `restarts` times per launch. When that is used up, the launch itself is repeated
    up to `relaunches` times in a row, after `first_wait_s` times `factor` to the power of the tries so far, at most
    `longest_wait_s`. A launch that got further than the one before it starts the count anew: a long run may fail often,
    but not at one place.
    """

    restarts: int = 3
    relaunches: int = 3
    first_wait_s: float = 5.0
    factor: float = 4.0
    longest_wait_s: float = 300.0

    def wait_s(self, num_tries: int) -> float:
        """Return how long to wait after the given number of failed launches in a row, 1 or more."""
        return float(min(self.longest_wait_s, self.first_wait_s * self.factor ** (num_tries - 1)))


def retried(
    run: Callable[[], T],
    retries: Retries,
    progress: Callable[[], int],
    given_up: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call `run` until it returns.

    Args:
        progress: how far the run is kept, in steps.
        given_up: whether somebody asked it to stop, or found that no restart helps; then the error stands.

    Raises:
        WorkerGroupError, ControllerError, RayError: the last one, when the tries are used up.
    """
    num_tries, reached = 0, progress()
    while True:
        try:
            return run()
        except RETRIED as error:
            if progress() > reached:
                num_tries, reached = 0, progress()
            num_tries += 1
            if num_tries > retries.relaunches or given_up():
                raise
            wait_s = retries.wait_s(num_tries)
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            log.warning(
                "the launch failed at step %d (%s); trying again in %.0f s (%d of %d)",
                reached, first_line, wait_s, num_tries, retries.relaunches,
            )  # fmt: skip
            _wait(wait_s, given_up, sleep)
            if given_up():
                raise


def persist(run: Callable[[], dict[str, Any]], folder: Path, storage: Storage, retries: Retries) -> dict[str, Any]:
    """Launch until a run's workers return something, if only the reason why no launch can succeed.

    The list of the bad samples found on the way is left in the run's folder.
    """

    def progress() -> int:
        try:
            newest = storage.newest()
            return storage.state(newest).step if newest else 0
        except OSError as error:  # away, perhaps for the reason for which the launch failed
            log.warning("%s does not say how far the run is: %s", storage.location, error)
            return 0

    def given_up() -> bool:
        return (folder / STOP_FILE).exists() or read_final_error(folder) is not None

    clear_final_error(folder)
    try:
        returned = retried(run, retries, progress, given_up)
        told = read_final_error(folder) if "error" in returned else None
    except RETRIED:
        told = read_final_error(folder)
        if told is None:
            raise
    finally:
        _summarize_quarantine(folder)
    # The worker that found the cause says it better than the first one, which may only have met the consequence.
    return returned if told is None else {"kind": told[0], "error": told[1]}


def _summarize_quarantine(folder: Path) -> None:
    try:
        num_bad = write_summary(folder)
    except OSError as error:  # a full disk: how the run ended matters more
        log.warning("%s could not be written: %s", folder / QUARANTINE_FILE, error)
        return
    if num_bad:
        log.warning("%d bad samples were left out; %s names them", num_bad, folder / QUARANTINE_FILE)


def _wait(wait_s: float, given_up: Callable[[], bool], sleep: Callable[[float], None]) -> None:
    """Wait in short pieces, so that a request to stop is heard."""
    left = wait_s
    while left > 0 and not given_up():
        sleep(min(left, 1.0))
        left -= 1.0
