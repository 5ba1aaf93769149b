"""Background activity and refractory filters against their definitions, whole and in parts."""

from itertools import pairwise

import numpy as np
import pytest
from events_support import random_events, same, some_events
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.event_transforms import BackgroundActivityFilter, RefractoryFilter
from eventsam.events import Events, concatenate


def supported(events: Events, support: int) -> list[int]:
    """Numbers of the events that a neighbour supports, by the definition."""
    last: dict[tuple[int, int], int] = {}
    kept = []
    for i, (x, y, t) in enumerate(zip(events.x.tolist(), events.y.tolist(), events.t.tolist(), strict=True)):
        around = [(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if (dx, dy) != (0, 0)]
        if any(t - last[place] <= support for place in around if place in last):
            kept.append(i)
        last[x, y] = t
    return kept


def rested(events: Events, period: int) -> list[int]:
    """Numbers of the events that come at least a period after the last one kept at their pixel."""
    last: dict[tuple[int, int], int] = {}
    kept = []
    for i, (x, y, t) in enumerate(zip(events.x.tolist(), events.y.tolist(), events.t.tolist(), strict=True)):
        if t - last.get((x, y), -(10**18)) >= period:
            kept.append(i)
            last[x, y] = t
    return kept


@settings(deadline=None)
@given(some_events(), st.integers(1, 3000))
def test_background_activity_keeps_what_a_neighbour_supports(events: Events, support: int) -> None:
    kept = supported(events, support)
    filtered = BackgroundActivityFilter(support)(events)
    for name in ("x", "y", "t", "p"):
        np.testing.assert_array_equal(getattr(filtered, name), getattr(events, name)[kept])


@settings(deadline=None)
@given(some_events(), st.integers(1, 3000))
def test_refractory_events_are_a_period_apart(events: Events, period: int) -> None:
    kept = rested(events, period)
    filtered = RefractoryFilter(period)(events)
    for name in ("x", "y", "t", "p"):
        np.testing.assert_array_equal(getattr(filtered, name), getattr(events, name)[kept])
    assert same(RefractoryFilter(period)(filtered), filtered)


@pytest.mark.parametrize("transform", [BackgroundActivityFilter(60), RefractoryFilter(60)], ids=repr)
@settings(deadline=None)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 300), max_size=6))
def test_parts_come_out_as_the_whole(transform, seed: int, cuts: list[int]) -> None:
    events = random_events(seed, 300)
    stream = transform.stream(events.height, events.width)
    edges = [0, *sorted(cuts), 300]
    parts = [stream(events.slice(first, end)) for first, end in pairwise(edges)]
    assert same(concatenate(parts), transform(events))


def test_the_pixel_itself_and_the_far_side_do_not_support() -> None:
    def kept(*rows: tuple[int, int, int]) -> list[int]:
        x, y, t = np.array(rows).T
        return BackgroundActivityFilter(10)(Events.from_arrays(x, y, t, t * 0, height=4, width=5)).t.tolist()

    assert kept((2, 2, 0), (2, 2, 5)) == []
    assert kept((2, 2, 0), (3, 3, 10)) == [10]
    assert kept((2, 2, 0), (3, 3, 11)) == []
    assert kept((4, 1, 0), (0, 2, 1)) == []
    assert kept((0, 0, 0), (0, 3, 1)) == []


@pytest.mark.parametrize("transform", [BackgroundActivityFilter(10), RefractoryFilter(10)], ids=repr)
def test_a_stream_refuses_other_sensors_and_the_past(transform) -> None:
    events = random_events(0, 100)
    stream = transform.stream(events.height, events.width)
    stream(events.slice(50, 100))
    with pytest.raises(ValueError, match="where the stream's last part ended"):
        stream(events.slice(0, 50))
    with pytest.raises(ValueError, match="events of 4x4 pixels, the stream is of 9x12"):
        stream(Events.empty(4, 4))
    assert len(stream(Events.empty(9, 12))) == 0


def test_noise_goes_and_an_edge_stays() -> None:
    rng = np.random.default_rng(0)
    noise = random_events(1, 2000, height=100, width=100, span_us=10**6)
    # A vertical edge that crosses the sensor: 100 pixels fire together every 10 ms.
    t0 = int(noise.t[0])
    t = np.concatenate([noise.t, np.repeat(t0 + np.arange(100) * 10_000, 100)])
    x = np.concatenate([noise.x, np.repeat(np.arange(100), 100)])
    y = np.concatenate([noise.y, np.tile(rng.permutation(100), 100)])
    is_edge = np.concatenate([np.zeros(len(noise), np.uint8), np.ones(10_000, np.uint8)])
    order = np.argsort(t, kind="stable")
    mixed = Events.from_arrays(x[order], y[order], t[order], is_edge[order], height=100, width=100)
    kept = BackgroundActivityFilter(1000)(mixed)
    assert kept.p.sum() > 0.6 * 10_000
    assert (kept.p == 0).sum() < 0.15 * len(noise)
