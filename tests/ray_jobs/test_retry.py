"""Launching again: which errors are worth it, how long the waits are, and when the count starts anew."""

import pytest
from ray.exceptions import RayError
from ray.train import WorkerGroupError

from ray_jobs.retry import Retries, retried


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
