"""Times moved, stretched and reversed; polarities swapped."""

import numpy as np
import pytest
from events_support import random_events, same, some_events
from hypothesis import given
from hypothesis import strategies as st

from eventsam.event_transforms import DropPolarity, FlipPolarity, JitterTime, ReverseTime, ScaleTime
from eventsam.events import Events

RNG = np.random.default_rng(0)


@given(some_events(), st.integers(0, 1000))
def test_jitter_keeps_every_event_and_sorts_stably(events: Events, seed: int) -> None:
    noise = np.rint(np.random.default_rng(seed).normal(0.0, 20.0, len(events))).astype(np.int64)
    moved = sorted(zip(events.t + noise, range(len(events)), strict=True))
    order = [number for _, number in moved]
    jittered = JitterTime(20.0)(events, np.random.default_rng(seed))
    assert jittered.t.tolist() == [t for t, _ in moved]
    np.testing.assert_array_equal(jittered.x, events.x[order])
    np.testing.assert_array_equal(jittered.p, events.p[order])


def test_no_jitter_changes_nothing() -> None:
    events = random_events(0, 300, span_us=20)
    assert same(JitterTime(0.0)(events, RNG), events)


@given(some_events(), st.floats(0.1, 10.0))
def test_a_factor_stretches_the_span_about_its_middle(events: Events, factor: float) -> None:
    scaled = ScaleTime(factor, factor)(events, RNG)
    np.testing.assert_array_equal(scaled.x, events.x)
    if len(events):
        span, new_span = (int(e.t[-1]) - int(e.t[0]) for e in (events, scaled))
        assert new_span == pytest.approx(span * factor, abs=2)
        middle, new_middle = (int(e.t[-1]) + int(e.t[0]) for e in (events, scaled))
        assert abs(middle - new_middle) <= 2 + factor * 2


def test_factors_are_as_often_below_one_as_above() -> None:
    events, rng = random_events(0, 50, span_us=10**6), np.random.default_rng(0)
    spans = [int(scaled.t[-1] - scaled.t[0]) for scaled in (ScaleTime()(events, rng) for _ in range(400))]
    assert 160 < sum(span > int(events.t[-1] - events.t[0]) for span in spans) < 240


@given(some_events())
def test_reversal_undoes_itself_and_swaps_polarity(events: Events) -> None:
    reverse = ReverseTime(1.0)
    backwards = reverse(events, RNG)
    assert same(reverse(backwards, RNG), events)
    if len(events):
        assert (backwards.t[0], backwards.t[-1]) == (events.t[0], events.t[-1])
        assert (backwards.x[0], backwards.p[0]) == (events.x[-1], 1 - events.p[-1])
        np.testing.assert_array_equal(np.diff(backwards.t), np.diff(events.t)[::-1])


@given(some_events())
def test_all_polarities_or_a_share_are_swapped(events: Events) -> None:
    np.testing.assert_array_equal(FlipPolarity(1.0)(events, RNG).p, 1 - events.p)
    assert same(FlipPolarity(1.0, 0.0)(events, RNG), events)
    assert FlipPolarity(0.0)(events, RNG) is events


def test_the_share_of_swapped_polarities_is_met() -> None:
    events = random_events(1, 10_000)
    swapped = FlipPolarity(1.0, 0.2)(events, np.random.default_rng(0)).p != events.p
    assert swapped.mean() == pytest.approx(0.2, abs=0.02)


@given(some_events())
def test_a_dropped_polarity_leaves_the_other_whole(events: Events) -> None:
    assert (DropPolarity("on", 1.0)(events, RNG).p == 0).all()
    assert len(DropPolarity("off", 1.0)(events, RNG)) == int(events.p.sum())
    assert DropPolarity("on", 0.0)(events, RNG) is events
