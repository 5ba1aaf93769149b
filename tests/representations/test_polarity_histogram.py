"""PolarityHistogram: against numpy's counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.events import Events
from eventsam.representations.polarity_histogram import PolarityHistogram

HEIGHT, WIDTH = 3, 4


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 600), st.integers(1, 255))
def test_counts_and_stops(seed: int, num_events: int, cutoff: int) -> None:
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(0, 100, num_events))
    x, y, p = (random.integers(0, limit, num_events) for limit in (WIDTH, HEIGHT, 2))
    events = Events.from_arrays(x, y, t, p, height=HEIGHT, width=WIDTH)
    expected = np.zeros((2, HEIGHT, WIDTH), int)
    inside = (t >= 10) & (t < 90)
    np.add.at(expected, (p[inside], y[inside], x[inside]), 1)
    counts = PolarityHistogram(cutoff)(events, 10, 90)
    assert counts.dtype == np.uint8
    np.testing.assert_array_equal(counts, np.minimum(expected, cutoff))


@pytest.mark.parametrize("cutoff", [0, 256, 1.5, None])
def test_impossible_cutoffs_are_refused(cutoff: object) -> None:
    with pytest.raises(ValueError, match="count_cutoff is"):
        PolarityHistogram(cutoff)  # type: ignore[arg-type]
