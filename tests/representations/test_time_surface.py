"""TimeSurface: accuracy of the table exponential, references, old events, equal bits for equal ages."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.events import Events
from eventsam.representations.time_surface import TimeSurface, decay_tables

HEIGHT, WIDTH = 4, 6
TAUS = st.sampled_from([0.001, 0.0375, 1.0, 15.857, 50, 1000.0, 2**21 / 1000, 3_600_000.0, 1e9])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 200), TAUS, st.floats(0.1, 200))
def test_equals_the_exponential(seed: int, num_events: int, tau_ms: float, spans: float) -> None:
    random = np.random.default_rng(seed)
    span = int(spans * tau_ms * 1000) + 1
    t = np.sort(random.integers(500, 500 + span, num_events))
    x, y, p = (random.integers(0, limit, num_events) for limit in (WIDTH, HEIGHT, 2))
    events = Events.from_arrays(x, y, t, p, height=HEIGHT, width=WIDTH)
    last = np.full((2, HEIGHT, WIDTH), -np.inf)
    last[p, y, x] = t
    for reference in ("window", "events"):
        now = 500 + span if reference == "window" or not num_events else t[-1]
        expected = np.exp((last - now) / (tau_ms * 1000))
        expected[now - last > 87 * tau_ms * 1000] = 0
        surface = TimeSurface(tau_ms, reference)(events, 500, 500 + span)
        assert surface.dtype == np.float32 and surface.shape == (2, HEIGHT, WIDTH)
        np.testing.assert_allclose(surface, expected, rtol=1e-6, atol=0)
        assert surface.max(initial=0) <= 1


@pytest.mark.parametrize("tau_ms", [0.001, 0.7, 50, 123.456, 5000, 1e6])
def test_the_value_is_the_product_of_two_table_entries(tau_ms: float) -> None:
    # What another device computes from the same tables, in whole numbers and one float32 product.
    tables = decay_tables(tau_ms)
    ages = np.unique(np.geomspace(1, max(tables.oldest_us * 1.01, 2), 2000).astype(np.int64))
    assert len(ages) <= HEIGHT * 500
    events = Events.from_arrays(
        np.arange(len(ages)), np.zeros(len(ages), int), -ages[::-1], np.ones(len(ages), int), height=1, width=len(ages)
    )
    word = ((ages + tables.rounding) >> tables.shift) + (1 << tables.fine_bits)
    word[ages > tables.oldest_us] = 0
    expected = tables.coarse[word >> tables.fine_bits] * tables.fine[word & ((1 << tables.fine_bits) - 1)]
    surface = TimeSurface(tau_ms)(events, -int(ages[-1]), 0)
    assert (surface[1, 0, ::-1] == expected).all() and not surface[0].any()
    assert (expected[ages <= tables.oldest_us] >= np.finfo(np.float32).tiny).all()


@pytest.mark.parametrize("tau_ms", [0.001, 50, 1e4, 1e9])
def test_tables_stay_small(tau_ms: float) -> None:
    tables = decay_tables(tau_ms)
    assert tables.coarse.nbytes + tables.fine.nbytes < 300_000
    assert (tables.oldest_us + tables.rounding >> tables.shift) + (1 << tables.fine_bits) < 2**31


def test_the_newest_event_is_one_and_its_pixel_forgets_older_ones() -> None:
    events = Events.from_arrays([1, 1, 2], [0] * 3, [0, 900, 1000], [1, 1, 0], height=HEIGHT, width=WIDTH)
    surface = TimeSurface(0.1, "events")(events, 0, 5000)
    assert surface[0, 0, 2] == 1
    np.testing.assert_allclose(surface[1, 0, 1], np.exp(-1.0), rtol=1e-6)
    assert np.count_nonzero(surface) == 2


@pytest.mark.parametrize("tau_ms", [0, -1.0, float("nan"), float("inf"), True, "50", 1e12])
def test_impossible_time_constants_are_refused(tau_ms: object) -> None:
    with pytest.raises(ValueError, match="tau_ms is"):
        TimeSurface(tau_ms)  # type: ignore[arg-type]


def test_many_and_few_events_give_the_same_bits() -> None:
    # More events than half the values are drawn in two passes; only the last event of a pixel counts in both.
    random = np.random.default_rng(3)
    n = 10 * HEIGHT * WIDTH
    t = np.sort(random.integers(0, 90_000, n))
    x, y, p = (random.integers(0, limit, n) for limit in (2, HEIGHT, 2))
    _, last = np.unique(((p * HEIGHT + y) * WIDTH + x)[::-1], return_index=True)
    kept = np.sort(n - 1 - last)
    many = Events.from_arrays(x, y, t, p, height=HEIGHT, width=WIDTH)
    few = Events.from_arrays(x[kept], y[kept], t[kept], p[kept], height=HEIGHT, width=WIDTH)
    assert len(few) <= HEIGHT * WIDTH < len(many)
    assert TimeSurface(7.5)(many, 0, 90_000).tobytes() == TimeSurface(7.5)(few, 0, 90_000).tobytes()
