"""Events made for tests: any gaps, any pixels, from a seed or from hypothesis."""

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st

from eventsam.events import COLUMNS, Events


def random_events(count: int, height: int, width: int, span_us: int, seed: int = 0, start: int = 0) -> Events:
    """Return events at random pixels and times in [start, start + span_us)."""
    random = np.random.default_rng(seed)
    t = start + np.sort(random.integers(0, span_us, count))
    x, y, p = (random.integers(0, limit, count) for limit in (width, height, 2))
    return Events.from_arrays(x, y, t, p, height=height, width=width)


@st.composite
def any_events(draw: st.DrawFn, height: int = 720, width: int = 1280, max_gap: int = 1 << 36) -> Events:
    """Draw events whose gaps are mostly short, sometimes long, from a start up to today's microseconds."""
    gap = st.one_of(st.integers(0, 3), st.integers(500, 520), st.integers(0, max_gap))
    gaps = draw(st.lists(gap, max_size=60))
    start = draw(st.one_of(st.just(0), st.integers(0, 1 << 51)))
    t = start + np.cumsum(np.array(gaps, np.int64)) if gaps else np.empty(0, np.int64)
    seed = draw(st.integers(0, 1 << 30))
    random = np.random.default_rng(seed)
    x, y, p = (random.integers(0, limit, len(t)) for limit in (width, height, 2))
    return Events.from_arrays(x, y, t, p, height=height, width=width)


def in_pieces(events: Events, size: int) -> Iterator[Events]:
    """Cut events into chunks of `size`."""
    for first in range(0, len(events), size):
        yield events.slice(first, min(first + size, len(events)))


def assert_same(found: Events, expected: Events) -> None:
    """Compare all columns, their types and the sensor."""
    assert (found.height, found.width, len(found)) == (expected.height, expected.width, len(expected))
    for name, dtype in COLUMNS.items():
        column = getattr(found, name)
        assert column.dtype == dtype
        np.testing.assert_array_equal(column, getattr(expected, name), err_msg=name)
