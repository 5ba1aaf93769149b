"""VoxelGrid: against a plain loop over the definition, and at its edges."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.events import Events
from eventsam.representations.voxel_grid import VoxelGrid

HEIGHT, WIDTH = 5, 7
event = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 1000), st.integers(0, 1))


def make(rows: list[tuple[int, int, int, int]]) -> Events:
    columns = zip(*sorted(rows, key=lambda row: row[2]), strict=True) if rows else ([], [], [], [])
    x, y, t, p = (list(column) for column in columns)
    return Events.from_arrays(x, y, t, p, height=HEIGHT, width=WIDTH)


def by_definition(events: Events, t0: int, t1: int, reference: str, num_bins: int) -> np.ndarray:
    grid = np.zeros((num_bins + 1, HEIGHT, WIDTH))
    rows = [row for row in zip(events.x, events.y, events.t.tolist(), events.p.tolist(), strict=True)]
    rows = [row for row in rows if t0 <= row[2] < t1]
    start, end = (t0, t1) if reference == "window" or not rows else (rows[0][2], rows[-1][2])
    for x, y, t, p in rows:
        s = Fraction((num_bins - 1) * (t - start), end - start) if end > start else Fraction(0)
        share = s - floor(s)
        grid[floor(s), y, x] += (2 * p - 1) * (1 - share)
        grid[floor(s) + 1, y, x] += (2 * p - 1) * share
    assert (grid[num_bins] == 0).all()
    return grid[:num_bins]


@settings(max_examples=60, deadline=None)
@given(st.lists(event, max_size=80), st.integers(-50, 500), st.integers(0, 700), st.integers(1, 7))
def test_equals_the_definition(rows: list[tuple[int, int, int, int]], t0: int, length: int, num_bins: int) -> None:
    events = make(rows)
    for reference in ("window", "events"):
        grid = VoxelGrid(num_bins, reference=reference)(events, t0, t0 + length)
        assert grid.dtype == np.float32 and grid.shape == (num_bins, HEIGHT, WIDTH)
        np.testing.assert_allclose(
            grid, by_definition(events, t0, t0 + length, reference, num_bins), rtol=1e-5, atol=5e-6
        )


def test_last_event_lies_in_the_last_bin_only() -> None:
    events = Events.from_arrays([0, 1], [0, 0], [3, 1003], [0, 1], height=HEIGHT, width=WIDTH)
    grid = VoxelGrid(5, reference="events")(events, 0, 2000)
    assert grid[:, 0, 0].tolist() == [-1, 0, 0, 0, 0]
    assert grid[:, 0, 1].tolist() == [0, 0, 0, 0, 1]


def test_an_event_on_the_edge_of_a_bin_leaves_the_next_one_at_zero() -> None:
    # 3 bins over 7 * 10^5 us: the middle edge is not a float that divides out evenly.
    times = [0, 350_000, 700_000]
    events = Events.from_arrays([0, 1, 2], [0, 0, 0], times, [1, 1, 1], height=HEIGHT, width=WIDTH)
    assert np.count_nonzero(VoxelGrid(3, reference="events")(events, 0, 700_001)) == 3


def test_one_instant_falls_in_the_first_bin() -> None:
    events = Events.from_arrays([3, 3], [2, 2], [400, 400], [1, 1], height=HEIGHT, width=WIDTH)
    grid = VoxelGrid(4, reference="events")(events, 0, 1000)
    assert grid[:, 2, 3].tolist() == [2, 0, 0, 0]


@pytest.mark.parametrize("normalize", [False, True])
def test_empty_window_is_zero(normalize: bool) -> None:
    for events in (Events.empty(HEIGHT, WIDTH), make([(1, 1, 900, 1)])):
        assert (VoxelGrid(3, normalize)(events, 0, 900) == 0).all()


def test_normalisation_is_over_nonzero_voxels() -> None:
    random = np.random.default_rng(3)
    rows = [(int(a), int(b), int(c), int(d)) for a, b, c, d in random.integers(0, [WIDTH, HEIGHT, 999, 2], (20, 4))]
    plain = VoxelGrid(5)(make(rows), 0, 1000)
    normal = VoxelGrid(5, normalize=True)(make(rows), 0, 1000)
    values = plain[plain != 0].astype(np.float64)
    np.testing.assert_allclose(normal[plain != 0], (values - values.mean()) / values.std(), rtol=1e-5, atol=1e-6)
    assert (normal[plain == 0] == 0).all()


@pytest.mark.parametrize("num_events", [1, 3, 7])
def test_equal_voxels_do_not_divide_by_zero(num_events: int) -> None:
    events = make([(i, 0, 0, 1) for i in range(num_events)])
    assert np.count_nonzero(VoxelGrid(5)(events, 0, 1000)) == num_events
    assert (VoxelGrid(5, normalize=True)(events, 0, 1000) == 0).all()


def test_inputs_are_untouched() -> None:
    t, p = np.array([10, 20], np.int64), np.array([0, 1], np.uint8)
    x = np.array([1, 2], np.uint16)
    VoxelGrid(5, True)(Events(x, x, t, p, HEIGHT, WIDTH), 0, 30)
    assert x.tolist() == [1, 2] and t.tolist() == [10, 20] and p.tolist() == [0, 1]


def test_to_rgb_shows_brighter_red_darker_blue() -> None:
    voxels = VoxelGrid(3)
    shown = voxels.to_rgb(voxels(make([(0, 0, 5, 1), (1, 0, 6, 0)]), 0, 10))
    assert shown.dtype == np.uint8 and shown.shape == (3, HEIGHT, WIDTH)
    assert shown[:, 0, 0].tolist() == [255, 0, 0]
    assert shown[:, 0, 1].tolist() == [0, 0, 255]
    assert (shown[:, 1:] == 255).all()
    assert (voxels.to_rgb(np.zeros((3, 2, 2), np.float32)) == 255).all()
    with pytest.raises(ValueError, match="3 bins"):
        voxels.to_rgb(np.zeros((4, 2, 2), np.float32))


@pytest.mark.parametrize("num_bins", [0, -1, 2.5, True])
def test_impossible_bins_are_refused(num_bins: object) -> None:
    with pytest.raises(ValueError, match="num_bins is"):
        VoxelGrid(num_bins)  # type: ignore[arg-type]


def test_unknown_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: window, events"):
        VoxelGrid(reference="stream")  # type: ignore[arg-type]
    assert VoxelGrid(7).num_channels == 7
