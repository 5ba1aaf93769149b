"""Random events for tests: many at one time and pixel, and none at all, on purpose."""

import numpy as np
from hypothesis import strategies as st

from eventsam.events import COLUMNS, Events


def random_events(seed: int, num_events: int, height: int = 9, width: int = 12, span_us: int = 400) -> Events:
    """Return events anywhere on a sensor within `span_us`, from an epoch time on."""
    rng = np.random.default_rng(seed)
    t = 1_700_000_000_000_000 + np.sort(rng.integers(0, span_us, num_events))
    x, y = rng.integers(0, width, num_events), rng.integers(0, height, num_events)
    return Events.from_arrays(x, y, t, rng.integers(0, 2, num_events), height=height, width=width)


def some_events(max_events: int = 200) -> st.SearchStrategy[Events]:
    """Return a strategy for `random_events` of any sensor, dense and sparse in time."""
    return st.builds(
        random_events,
        st.integers(0, 2**31),
        st.integers(0, max_events),
        st.integers(1, 20),
        st.integers(1, 20),
        st.sampled_from([1, 40, 5000, 10**7]),
    )


def same(one: Events, other: Events) -> bool:
    """Whether two Events hold the same, sensor included."""
    columns = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)
    return columns and (one.height, one.width) == (other.height, other.width)
