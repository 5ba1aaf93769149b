"""Events left out at random, by area and by time: how many, and which."""

import numpy as np
import pytest
from events_support import random_events, same, some_events
from hypothesis import given
from hypothesis import strategies as st

from eventsam.event_transforms import DropArea, DropEvents, DropTimeSpan
from eventsam.events import Events


def is_part_of(part: Events, whole: Events) -> bool:
    """Whether the part's events appear in the whole, in order."""
    rows = iter(zip(whole.x, whole.y, whole.t, whole.p, strict=True))
    return all(row in rows for row in zip(part.x, part.y, part.t, part.p, strict=True))


@given(some_events(), st.floats(0, 1), st.integers(0, 1000))
def test_a_share_is_met_to_the_event(events: Events, share: float, seed: int) -> None:
    kept = DropEvents(share, share)(events, np.random.default_rng(seed))
    assert len(kept) == len(events) - round(share * len(events))
    assert is_part_of(kept, events)


def test_every_event_is_dropped_as_often_as_any_other() -> None:
    events, rng = random_events(0, 20, span_us=10**6), np.random.default_rng(0)
    dropped = np.zeros(20)
    for _ in range(2000):
        dropped += ~np.isin(events.t, DropEvents(0.25, 0.25)(events, rng).t)
    assert dropped.sum() == 2000 * 5
    assert dropped.min() > 420 and dropped.max() < 580


@given(some_events(), st.floats(0, 1), st.integers(0, 1000))
def test_a_dropped_area_is_one_box_of_its_size(events: Events, share: float, seed: int) -> None:
    kept = DropArea(share, share)(events, np.random.default_rng(seed))
    assert is_part_of(kept, events)
    y, x = np.divmod(np.arange(events.height * events.width), events.width)
    everywhere = Events.from_arrays(
        x, y, np.zeros(len(x), np.int64), np.ones(len(x)), height=events.height, width=events.width
    )
    left = DropArea(share, share)(everywhere, np.random.default_rng(seed))
    hole = np.ones((events.height, events.width), bool)
    hole[left.y, left.x] = False
    side = np.sqrt(share)
    rows, columns = round(side * events.height), round(side * events.width)
    assert hole.sum() == rows * columns
    if rows * columns:
        assert hole.any(axis=1).sum() == rows and hole.any(axis=0).sum() == columns
    assert len(kept) == int((~hole[events.y, events.x]).sum())


@given(some_events(), st.floats(0, 1), st.integers(0, 1000))
def test_a_dropped_span_is_one_gap_of_its_length(events: Events, share: float, seed: int) -> None:
    kept = DropTimeSpan(share, share)(events, np.random.default_rng(seed))
    assert is_part_of(kept, events)
    if not len(events):
        return
    gone = np.setdiff1d(events.t, kept.t)
    if len(gone):
        assert gone[-1] - gone[0] < round(share * (int(events.t[-1]) - int(events.t[0]) + 1))
        assert not ((kept.t >= gone[0]) & (kept.t <= gone[-1])).any()


def test_a_whole_share_leaves_nothing_and_none_leaves_all() -> None:
    events, rng = random_events(1, 300), np.random.default_rng(0)
    for drop in (DropEvents, DropArea, DropTimeSpan):
        assert len(drop(1.0, 1.0)(events, rng)) == 0
        assert same(drop(0.0, 0.0)(events, rng), events)


def test_spans_lie_anywhere() -> None:
    events, rng = random_events(2, 2000, span_us=10**6), np.random.default_rng(0)
    kept = [DropTimeSpan(0.5, 0.5)(events, rng) for _ in range(200)]
    starts_late = sum(int(part.t[0] - events.t[0]) > 1000 for part in kept)
    assert starts_late < 10
    assert 0.4 < np.mean([len(part) for part in kept]) / 2000 < 0.6


@pytest.mark.parametrize("drop", [DropEvents, DropArea, DropTimeSpan])
def test_shares_vary_within_their_range(drop) -> None:
    events, rng = random_events(3, 1000, height=30, width=40), np.random.default_rng(0)
    shares = [1 - len(drop(0.1, 0.4)(events, rng)) / 1000 for _ in range(100)]
    assert 0.05 < min(shares) < 0.2 < max(shares) < 0.5
