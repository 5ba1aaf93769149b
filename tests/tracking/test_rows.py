"""Records to metrics: property tests of restarts, derived numbers, names."""

from hypothesis import given
from hypothesis import strategies as st

from eventsam.tracking.rows import fresh, metric_name, redone_steps, with_derived

RUNS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20)), min_size=1, max_size=6)


@given(RUNS)
def test_whatever_the_restarts_every_step_is_sent_once_and_in_order(runs: list[tuple[int, int]]) -> None:
    last_steps: dict[str, int] = {}
    sent, logged, newest = [], set(), 0
    for back, num_steps in runs:
        start = max(0, newest - back)  # a restart goes back to some checkpoint
        for step in range(start + 1, start + num_steps + 1):
            logged.add(step)
            sent += [step] if fresh({"step": step, "loss": 1.0, "time": 0.0}, last_steps) else []
            newest = max(newest, step)
    assert sent == sorted(logged)
    assert sent == list(range(1, len(sent) + 1))


def test_restarts_are_counted_with_what_they_changed() -> None:
    losses = [(1, 3.0), (2, 2.0), (3, 1.0), (2, 2.0), (3, 1.5), (4, 1.0)]
    redone = redone_steps({"step": step, "loss": loss} for step, loss in losses)
    assert (redone.num_restarts, redone.num_steps, redone.num_different) == (1, 2, 1)


def test_names_that_mlflow_refuses_are_bent() -> None:
    assert metric_name("val/f_score@0.5%") == "val/f_score_0.5_"
    assert len(metric_name("x" * 400)) == 250


def test_a_record_without_clocks_gets_no_shares() -> None:
    assert with_derived({"step": 1, "loss": 2.0}, {}) == {"step": 1, "loss": 2.0}
