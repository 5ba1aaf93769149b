"""Histogram: against plain numpy in RVT's float32 arithmetic, exact window bins, saturation, wrapping, ends."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.events import Events
from eventsam.representations.histogram import Histogram
from eventsam.representations.time_bins import bin_start_ages, even_shares

HEIGHT, WIDTH = 5, 7
SPANS = st.sampled_from([0, 1, 9, 1000, 50_000, 2**24 + 1, 4 * 3600 * 10**6, 2**45])


def stream(seed: int, num_events: int, span: int, start: int = -77) -> Events:
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(start, start + span + 1, num_events))
    x, y, p = (random.integers(0, limit, num_events) for limit in (WIDTH, HEIGHT, 2))
    return Events.from_arrays(x, y, t, p, height=HEIGHT, width=WIDTH)


def by_torch(events: Events, num_bins: int, cutoff: int | None, wrapping: bool) -> np.ndarray:
    """The published definition: float32 torch arithmetic, counts modulo 256 in the fast mode."""
    if not len(events):
        return np.zeros((2 * num_bins, HEIGHT, WIDTH), np.uint8)
    x, y, t, p = (torch.from_numpy(getattr(events, name).astype(np.int64)) for name in "xytp")
    share = (t - t[0]) / max(int(t[-1] - t[0]), 1)
    bins = (share * num_bins).floor().clamp(max=num_bins - 1).to(torch.int64)
    place = ((p * num_bins + bins) * HEIGHT + y) * WIDTH + x
    counts = torch.bincount(place, minlength=2 * num_bins * HEIGHT * WIDTH)
    counts = counts % 256 if wrapping else counts
    return counts.clamp(max=cutoff or 255).to(torch.uint8).view(-1, HEIGHT, WIDTH).numpy()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 300), SPANS, st.integers(1, 12), st.sampled_from([None, 1, 10, 255]))
def test_equals_the_published_arithmetic(seed: int, num_events: int, span: int, num_bins: int, cutoff: int) -> None:
    events = stream(seed, num_events, span)
    for wrapping in (False, True):
        counts = Histogram(num_bins, cutoff, wrapping)(events, -77, -77 + span + 1)
        assert counts.dtype == np.uint8
        np.testing.assert_array_equal(counts, by_torch(events, num_bins, cutoff, wrapping))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 16), st.integers(0, 2**44))
def test_bins_start_where_the_float32_product_does(num_bins: int, duration: int) -> None:
    ages = bin_start_ages(duration, even_shares(num_bins))
    near = {age + step for age in ages.tolist() for step in (-2, -1, 0, 1) if 0 <= age + step <= duration}
    near = sorted(near | {0, duration})
    share = torch.tensor(near) / max(duration, 1)
    expected = (share * num_bins).floor().clamp(max=num_bins - 1).to(torch.int64)
    assert (np.searchsorted(ages, near, side="right") - 1).tolist() == expected.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 200), SPANS, st.integers(1, 12))
def test_window_bins_are_exact(seed: int, num_events: int, span: int, num_bins: int) -> None:
    events, t0, t1 = stream(seed, num_events, span), -77, -77 + span + 1
    expected = np.zeros((2 * num_bins, HEIGHT, WIDTH), int)
    for x, y, t, p in zip(events.x, events.y, events.t.tolist(), events.p.tolist(), strict=True):
        expected[p * num_bins + (t - t0) * num_bins // (t1 - t0), y, x] += 1
    counts = Histogram(num_bins, None, reference="window")(events, t0, t1)
    np.testing.assert_array_equal(counts, np.minimum(expected, 255))


@pytest.mark.parametrize("reference", ["events", "window"])
def test_inclusive_ends_take_the_events_at_the_end(reference: str) -> None:
    events = Events.from_arrays([0, 1, 2], [0] * 3, [0, 50, 100], [1] * 3, height=HEIGHT, width=WIDTH)
    half_open = Histogram(10, reference=reference)(events, 0, 100)
    inclusive = Histogram(10, reference=reference, ends="inclusive")(events, 0, 100)
    assert half_open.sum() == 2 and inclusive.sum() == 3
    assert inclusive[19, 0, 2] == 1
    assert Histogram(10, ends="inclusive")(events, 100, 100).sum() == 1
    with pytest.raises(ValueError, match="ends before it starts"):
        Histogram(ends="inclusive")(events, 5, 4)


def test_saturates_or_wraps() -> None:
    n = 300
    events = Events.from_arrays([3] * n, [2] * n, [5] * n, [1] * n, height=HEIGHT, width=WIDTH)
    assert Histogram(4, None)(events, 0, 10)[4, 2, 3] == 255
    assert Histogram(4, 200)(events, 0, 10)[4, 2, 3] == 200
    assert Histogram(4, None, wrapping=True)(events, 0, 10)[4, 2, 3] == 44
    assert Histogram(4, 10, wrapping=True)(events, 0, 10)[4, 2, 3] == 10


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"num_bins": 0}, "num_bins is 0"),
        ({"num_bins": True}, "num_bins is True"),
        ({"count_cutoff": 256}, "count_cutoff is 256, allowed: an integer from 1 to 255"),
        ({"reference": "stream"}, "allowed: window, events"),
        ({"ends": "open"}, "allowed: half_open, inclusive"),
    ],
)
def test_impossible_choices_are_refused(choices: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Histogram(**choices)  # type: ignore[arg-type]
