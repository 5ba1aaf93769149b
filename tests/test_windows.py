"""Windows around a time, and streams cut by time and by count."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsam.windows import Window, cut_by_count, cut_by_time

sorted_times = st.lists(st.integers(0, 5000), max_size=60).map(lambda times: np.sort(np.array(times, np.int64)))


def test_centred_and_causal() -> None:
    assert Window(50).around(1_000_000) == (975_000, 1_025_000)
    assert Window(50, "causal").around(1_000_000) == (950_000, 1_000_000)


@given(st.integers(1, 10**6), st.integers(-(10**15), 10**15))
def test_length_is_exact_also_when_odd(length_us: int, t_us: int) -> None:
    for alignment in ("centred", "causal"):
        t0, t1 = Window(length_us / 1000, alignment).around(t_us)
        assert t1 - t0 == length_us
        assert t0 <= t_us <= t1


@pytest.mark.parametrize("length_ms", [0, -1, 0.0001, float("nan"), float("inf")])
def test_impossible_lengths_are_refused(length_ms: float) -> None:
    with pytest.raises(ValueError, match="length_ms is"):
        Window(length_ms)


def test_unknown_alignment_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: centred, causal"):
        Window(10, "centered")  # type: ignore[arg-type]


@given(sorted_times, st.integers(1, 1500))
def test_cuts_by_time_hold_what_their_times_say(t: np.ndarray, length_us: int) -> None:
    cuts = cut_by_time(t, length_us / 1000)
    for cut in cuts:
        assert cut.t1 - cut.t0 == length_us
        assert (t[cut.first_event : cut.end_event] == t[(t >= cut.t0) & (t < cut.t1)]).all()
    assert all(a.t1 == b.t0 for a, b in pairwise(cuts))
    if cuts:
        assert cuts[0].t0 == t[0]
        assert cuts[-1].t1 <= t[-1] + 1 < cuts[-1].t1 + length_us


def test_overlapping_cuts_by_time() -> None:
    cuts = cut_by_time(np.arange(0, 10_001, 1000), length_ms=4, stride_ms=2)
    assert [(cut.t0, cut.num_events) for cut in cuts] == [(0, 4), (2000, 4), (4000, 4), (6000, 4)]


@given(sorted_times, st.integers(1, 10))
def test_cuts_by_count_never_split_a_microsecond(t: np.ndarray, num_events: int) -> None:
    cuts = cut_by_count(t, num_events)
    for cut in cuts:
        assert cut.num_events >= num_events
        assert (t[cut.first_event : cut.end_event] == t[(t >= cut.t0) & (t < cut.t1)]).all()
        # Without the events that share its last microsecond the cut would be too short.
        assert np.count_nonzero(t[cut.first_event : cut.end_event] < cut.t1 - 1) < num_events
    assert all(a.end_event == b.first_event for a, b in pairwise(cuts))
    assert len(t) - (cuts[-1].end_event if cuts else 0) < num_events


def test_streams_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(ValueError, match="not sorted"):
        cut_by_time(np.array([2, 1]), 1)
    with pytest.raises(ValueError, match="expected a 1-D integer array"):
        cut_by_count(np.zeros(3), 1)
    with pytest.raises(ValueError, match="num_events is 0"):
        cut_by_count(np.arange(3), 0)
