"""VoxelGrid's exact sums and sub-pixel form, and the two ways of its float sums."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.events import Events
from eventsam.representations.voxel_grid import VoxelGrid
from eventsam.representations.voxel_sums import draw_bilinear

HEIGHT, WIDTH = 3, 4
SPANS = st.sampled_from([0, 1, 7, 1000, 50_000, 1_300_000, 2 * 3600 * 10**6, 2**40])


def stream(seed: int, num_events: int, span: int, height: int = HEIGHT, width: int = WIDTH) -> Events:
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(100, 101 + span, num_events))
    x, y, p = (random.integers(0, limit, num_events) for limit in (width, height, 2))
    return Events.from_arrays(x, y, t, p, height=height, width=width)


def exact_by_fractions(events: Events, t0: int, t1: int, num_bins: int) -> np.ndarray:
    whole = max(t1 - t0, 1)
    sums = np.zeros((num_bins + 1, events.height, events.width), object)
    for x, y, t, p in zip(events.x, events.y, events.t.tolist(), events.p.tolist(), strict=True):
        b, w = divmod((num_bins - 1) * (t - t0), whole) if t1 > t0 else (0, 0)
        sums[b, y, x] += (2 * p - 1) * (whole - w)
        sums[b + 1, y, x] += (2 * p - 1) * w
    return np.vectorize(lambda n: np.float32(float(n) / float(whole)), otypes=[np.float32])(sums[:num_bins])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 150), SPANS, st.integers(1, 7))
def test_exact_is_the_rounded_fraction(seed: int, num_events: int, span: int, num_bins: int) -> None:
    events = stream(seed, num_events, span)
    for reference in ("window", "events"):
        t0, t1 = (100, 101 + span) if reference == "window" or not num_events else (events.t[0], events.t[-1])
        grid = VoxelGrid(num_bins, reference=reference, exact=True)(events, 100, 101 + span)
        assert (grid == exact_by_fractions(events, int(t0), int(t1), num_bins)).all()


@pytest.mark.parametrize("span", [1000, 2**40])
def test_exact_does_not_depend_on_the_order(span: int) -> None:
    # Equal times let the order change under the contract of sorted events.
    random = np.random.default_rng(5)
    events = stream(4, 5000, span)
    t = (events.t - 100) // (span // 8) * (span // 8) + 100
    order = np.lexsort((random.permutation(len(t)), t))
    voxels = VoxelGrid(5, exact=True)
    grids = [
        voxels(Events(events.x[i], events.y[i], t[i], events.p[i], HEIGHT, WIDTH), 100, 101 + span)
        for i in (np.arange(len(t)), order)
    ]
    assert (grids[0] == grids[1]).all() and grids[0].any()


def test_exact_holds_a_hot_pixel_of_a_long_window() -> None:
    # Count and age do not fit one word here: 2^21 events at the end of an hour-long bin.
    n, hour = 1 << 21, 3600 * 10**6
    t = np.full(n, hour - 1)
    events = Events.from_arrays(np.ones(n, int), np.ones(n, int), t, np.ones(n, int), height=HEIGHT, width=WIDTH)
    grid = VoxelGrid(2, exact=True)(events, 0, hour)
    assert grid[0, 1, 1] == np.float32(n / hour) and grid[1, 1, 1] == np.float32(float(n * (hour - 1)) / hour)
    assert np.count_nonzero(grid) == 2
    assert not VoxelGrid(2, exact=True)(Events.empty(HEIGHT, WIDTH), 0, hour).any()


def test_exact_refuses_what_64_bits_cannot_hold() -> None:
    events = Events.from_arrays([0] * 64, [0] * 64, [0] * 64, [1] * 64, height=1, width=1)
    with pytest.raises(ValueError, match="64 events over"):
        VoxelGrid(2, exact=True)(events, 0, 2**57)


def test_exact_agrees_with_the_float_sums() -> None:
    events = stream(1, 3000, 50_000)
    for normalize in (False, True):
        exact, plain = (VoxelGrid(5, normalize, exact=choice)(events, 100, 50_101) for choice in (True, False))
        np.testing.assert_allclose(exact, plain, rtol=1e-5, atol=5e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 200), st.integers(1, 6))
def test_both_ways_of_float_sums_give_the_same_bits(seed: int, num_events: int, num_bins: int) -> None:
    events = stream(seed, num_events, 1000)
    grids = [np.full((num_bins, HEIGHT * WIDTH), 7, np.float32) for _ in range(2)]
    for size, grid in zip((0, HEIGHT * WIDTH), grids, strict=True):
        pairs = np.zeros(size, np.uint64)
        columns = events.x, events.y, events.t, events.p
        draw_bilinear(*columns, 100, 1001, np.uint32(WIDTH), pairs, grid)
        assert not pairs.any()
    assert grids[0].tobytes() == grids[1].tobytes()


def subpixel_by_definition(x: np.ndarray, y: np.ndarray, events: Events, num_bins: int, span: int) -> np.ndarray:
    grid = np.zeros((num_bins + 1, HEIGHT + 2, WIDTH + 2))
    for i in range(len(events)):
        s = Fraction((num_bins - 1) * (int(events.t[i]) - 100), span)
        for b, row, column in np.ndindex(num_bins, HEIGHT, WIDTH):
            near = [max(0.0, 1 - abs(float(a) - c)) for a, c in ((s, b), (y[i], row), (x[i], column))]
            grid[b, row, column] += (2 * int(events.p[i]) - 1) * np.prod(near)
    return grid[:num_bins, :HEIGHT, :WIDTH]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 30), st.integers(1, 4))
def test_subpixel_is_linear_in_all_three(seed: int, num_events: int, num_bins: int) -> None:
    events = stream(seed, num_events, 999)
    random = np.random.default_rng(seed)
    x, y = random.uniform(-3, WIDTH + 2, num_events), random.uniform(-3, HEIGHT + 2, num_events)
    grid = VoxelGrid(num_bins).subpixel(x, y, events.t, events.p, HEIGHT, WIDTH, 100, 1100)
    np.testing.assert_allclose(grid, subpixel_by_definition(x, y, events, num_bins, 1000), rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_subpixel_on_whole_pixels_is_the_voxel_grid(normalize: bool) -> None:
    events = stream(2, 500, 5000)
    voxels = VoxelGrid(5, normalize, "events")
    x, y = events.x.astype(np.float32), events.y.astype(float)
    grid = voxels.subpixel(x, y, events.t, events.p, HEIGHT, WIDTH, 1000, 4000)
    np.testing.assert_allclose(grid, voxels(events, 1000, 4000), rtol=1e-5, atol=5e-6)


def test_subpixel_takes_positions_far_outside_and_refuses_none_at_all() -> None:
    t, p = np.array([1, 2]), np.array([-1, 1])
    voxels = VoxelGrid(2)
    assert not voxels.subpixel([1e300, -1e300], [0, 0], t, p, HEIGHT, WIDTH, 0, 10).any()
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="x holds NaN or infinity"):
            voxels.subpixel([0.5, bad], [0, 0], t, p, HEIGHT, WIDTH, 0, 10)
    with pytest.raises(ValueError, match="y has shape"):
        voxels.subpixel([0, 0], [0], t, p, HEIGHT, WIDTH, 0, 10)
    with pytest.raises(ValueError, match="t goes back"):
        voxels.subpixel([0, 0], [0, 0], t[::-1], p, HEIGHT, WIDTH, 0, 10)
    with pytest.raises(ValueError, match="exact sums need whole pixels"):
        VoxelGrid(2, exact=True).subpixel([0, 0], [0, 0], t, p, HEIGHT, WIDTH, 0, 10)
    assert not voxels.subpixel([], [], np.empty(0, int), [], HEIGHT, WIDTH, 0, 10).any()
