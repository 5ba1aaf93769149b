"""Launching again: which errors are worth it, how long the waits are, and when the count starts anew."""

import math
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayError
from ray.train import WorkerGroupError

from eventsam.checkpoint import CheckpointWriteError, LocalStorage
from eventsam.engine import ExplodingGradientError, NonFiniteLossError
from ray_jobs.give_up import give_up, given_up
from ray_jobs.retry import Retries, persist, retried


class Launches:
    """Fails as told; its progress is what the last failure left."""

    def __init__(self, outcomes: list[int | BaseException]) -> None:
        self.outcomes, self.reached, self.waits = outcomes, 0, [0.0]
        self.stopped = False

    def run(self) -> str:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        self.reached = outcome
        if not self.outcomes:
            return "done"
        self.waits.append(0.0)
        raise WorkerGroupError("worker 0 died", {0: RayError("killed")})

    def sleep(self, seconds: float) -> None:
        self.waits[-1] += seconds


def launch(launches: Launches, retries: Retries) -> str:
    return retried(launches.run, retries, lambda: launches.reached, lambda: launches.stopped, launches.sleep)


def test_waits_grow_up_to_a_limit() -> None:
    assert [Retries(first_wait_s=5, factor=4, longest_wait_s=300).wait_s(n) for n in (1, 2, 3, 4, 5)] == [
        5, 20, 80, 300, 300,
    ]  # fmt: skip


def test_failures_at_one_place_use_the_tries_up() -> None:
    launches = Launches([0, 0, 0, 0, 0])
    with pytest.raises(WorkerGroupError, match="worker 0 died"):
        launch(launches, Retries(relaunches=3))
    assert launches.waits[1:] == [5.0, 20.0, 80.0, 0.0]


def test_progress_starts_the_count_anew() -> None:
    launches = Launches([10, 20, 30, 40, 50, 60])
    assert launch(launches, Retries(relaunches=1)) == "done"
    assert launches.waits[1:] == [5.0] * 5


def test_errors_of_people_are_not_retried() -> None:
    for error in (ValueError("bad recipe"), KeyError("name"), KeyboardInterrupt()):
        launches = Launches([error, 1])
        with pytest.raises(type(error)):
            launch(launches, Retries())


def test_a_request_to_stop_is_heard_while_waiting() -> None:
    launches = Launches([0, 1])

    def sleep(seconds: float) -> None:
        launches.stopped = True

    with pytest.raises(WorkerGroupError):
        retried(launches.run, Retries(), lambda: 0, lambda: launches.stopped, sleep)


def nonfinite(loss: float, norm: float, rank: int) -> NonFiniteLossError:
    return NonFiniteLossError(f"loss {loss} on rank {rank}", {"loss": loss, "gradient_norm": norm})


def test_of_workers_that_all_stop_the_one_with_the_bad_samples_is_heard(tmp_path: Path) -> None:
    def run() -> dict[str, Any]:
        answers = [give_up(nonfinite(loss, math.nan, rank), tmp_path, 2) for rank, loss in enumerate((0.5, math.nan))]
        return answers[0]  # as Ray Train returns the first worker's

    returned = persist(run, tmp_path, LocalStorage(tmp_path), Retries())
    assert returned == {"kind": "nonfinite", "error": "loss nan on rank 1"}


def test_a_loss_that_is_bad_on_one_worker_alone_is_raised_for_the_others_to_read(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError):
        give_up(nonfinite(math.nan, 1.0, 1), tmp_path, 2)
    assert given_up(tmp_path) == {"kind": "nonfinite", "error": "loss nan on rank 1"}


def test_an_explosion_and_a_full_storage_are_answered_by_all(tmp_path: Path) -> None:
    explosion = ExplodingGradientError("leapt", {"loss": 1.0, "gradient_norm": 1e9})
    assert give_up(explosion, tmp_path, 2) == {"kind": "nonfinite", "error": "leapt"}
    assert give_up(CheckpointWriteError("no room"), tmp_path, 2) == {"kind": "storage", "error": "no room"}
    assert given_up(tmp_path) is None


def test_a_storage_that_is_away_does_not_end_the_tries(tmp_path: Path) -> None:
    class Away(LocalStorage):
        def newest(self) -> str | None:
            raise OSError("no route to host")

    outcomes: list[Any] = [WorkerGroupError("lost", {0: RayError("killed")}), {"status": "finished"}]

    def run() -> dict[str, Any]:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return dict(outcome)

    assert persist(run, tmp_path, Away(tmp_path), Retries(first_wait_s=0.1))["status"] == "finished"
