"""Hot pixels: found where they are, edges and lights spared, and reported."""

import logging

import numpy as np
import pytest
from events_support import random_events, same
from hypothesis import given
from hypothesis import strategies as st

from eventsam.event_transforms import HotPixelFilter
from eventsam.event_transforms.hot_pixels import event_counts
from eventsam.events import Events


def scene(seed: int, mean: float, hot: dict[tuple[int, int], int]) -> np.ndarray:
    """Counts of a sensor whose activity varies smoothly and by chance, with hot pixels set."""
    rng = np.random.default_rng(seed)
    level = mean * np.exp(np.sin(np.arange(60)[:, None] / 9.0) + np.cos(np.arange(80)[None] / 7.0))
    counts = rng.poisson(level)
    for place, count in hot.items():
        counts[place] = count
    return counts


@given(st.integers(0, 10_000), st.sampled_from([0.05, 1.0, 30.0, 2000.0]))
def test_hot_pixels_are_found_and_no_others(seed: int, mean: float) -> None:
    busy = int(300 * mean + 60)
    hot = {(5, 6): busy, (30, 70): 3 * busy, (59, 79): busy, (59, 0): busy}
    found = HotPixelFilter().find(scene(seed, mean, hot), 10**6)
    assert {(y, x) for y, x, _ in found.pixels} == set(hot)
    assert found.pixels[0] == (30, 70, 3.0 * busy)
    assert len(found) == 4


def test_a_pair_is_found_and_a_light_or_an_outline_is_spared() -> None:
    counts = scene(0, 1.0, {(10, 10): 900, (10, 11): 500})
    counts[40:43, 20:23] = 800
    counts[20:30, 60:70] = 700
    counts[21:29, 61:69] = 1
    found = HotPixelFilter().find(counts, 10**6)
    assert {(y, x) for y, x, _ in found.pixels} == {(10, 10), (10, 11)}
    assert len(HotPixelFilter(isolation=0.0).find(counts, 10**6)) == 2 + 9 + 36


def test_events_of_hot_pixels_go_and_the_find_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    quiet = random_events(0, 500, height=30, width=40, span_us=10**6)
    t = np.concatenate([quiet.t, quiet.t[0] + np.arange(2000) * 500])
    x, y = (np.concatenate([getattr(quiet, name), np.full(2000, place)]) for name, place in (("x", 7), ("y", 3)))
    order = np.argsort(t, kind="stable")
    events = Events.from_arrays(x[order], y[order], t[order], np.ones(len(t)), height=30, width=40)
    with caplog.at_level(logging.DEBUG, logger="eventsam.event_transforms.hot_pixels"):
        filtered = HotPixelFilter()(events)
    assert "1 hot pixels" in caplog.text
    at_place = (quiet.x == 7) & (quiet.y == 3)
    np.testing.assert_array_equal(filtered.t, quiet.t[~at_place])
    assert same(HotPixelFilter()(filtered), filtered)


def test_counts_of_parts_add_up_and_the_find_filters_other_windows() -> None:
    events = random_events(1, 4000, height=30, width=40)
    parts = sum(event_counts(events.slice(first, first + 1000)) for first in range(0, 4000, 1000))
    np.testing.assert_array_equal(parts, event_counts(events))
    parts[4, 4] = 5000
    hot = HotPixelFilter().find(parts, 400)
    window = events.slice(100, 600)
    assert len(hot(window)) == int((~((window.x == 4) & (window.y == 4))).sum())
    with pytest.raises(ValueError, match="events of 9x12 pixels, hot pixels found on 30x40"):
        hot(random_events(0, 5))


def test_a_silent_sensor_has_none() -> None:
    found = HotPixelFilter().find(np.zeros((4, 5), np.int64), 10)
    assert len(found) == 0 and found.pixels == []
    assert len(HotPixelFilter()(Events.empty(4, 5))) == 0
