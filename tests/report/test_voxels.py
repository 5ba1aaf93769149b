"""The picture of an occupancy grid: what is nearer covers, nothing cracks, and it takes milliseconds."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.report.voxels import render_occupancy, trim_together


def cube(resolution: int, filled: tuple[slice, slice, slice] = (slice(None),) * 3) -> np.ndarray:
    grid = np.zeros((resolution,) * 3, dtype=bool)
    grid[filled] = True
    return grid


@pytest.mark.parametrize("resolution", [1, 2, 7, 16, 32, 64])
def test_a_full_cube_has_no_cracks(resolution: int) -> None:
    picture = render_occupancy(cube(resolution), "#D55E00")
    assert picture.dtype == np.uint8 and picture.shape[2] == 4
    solid = picture[..., 3] == 255
    # every row and column of the solid is one run of opaque pixels
    for lines in (solid, solid.T):
        assert (np.abs(np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(int), axis=1)).sum(axis=1) <= 2).all()
    assert solid.mean() > 0.6


def test_the_nearer_solid_covers_the_farther() -> None:
    full = render_occupancy(cube(12), "#0072B2")
    shell = cube(12)
    shell[1:-1, 1:-1, 1:-1] = False
    np.testing.assert_array_equal(render_occupancy(shell, "#0072B2")[..., 3], full[..., 3])


def test_right_is_right_and_up_is_up() -> None:
    def centre(grid: np.ndarray) -> np.ndarray:
        return np.argwhere(render_occupancy(grid, "#0072B2")[..., 3] == 255).mean(axis=0)

    middle = (slice(6, 10),) * 3
    row, column = centre(cube(16, middle))
    assert centre(cube(16, (slice(12, 16), *middle[1:])))[1] > column + 20
    assert centre(cube(16, (*middle[:2], slice(12, 16))))[0] < row - 20
    # away from the viewer is further up and, seen from the front right, further to the right
    assert centre(cube(16, (middle[0], slice(12, 16), middle[2])))[0] < row - 20


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 20), st.floats(0, 1))
def test_any_grid_can_be_drawn(seed: int, resolution: int, share: float) -> None:
    grid = np.random.default_rng(seed).random((resolution,) * 3) < share
    grid.setflags(write=False)
    picture = render_occupancy(grid, "#009E73", pixels=64)
    assert (picture[..., 3] == 255).any() == grid.any()


def test_an_empty_grid_is_an_empty_picture() -> None:
    assert not render_occupancy(cube(16, (slice(0, 0),) * 3), "#009E73").any()


@pytest.mark.parametrize("grid", [np.zeros((4, 4, 5), dtype=bool), np.zeros((4, 4), dtype=bool), np.zeros((4, 4, 4))])
def test_what_is_no_cube_of_booleans_is_refused(grid: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected bool"):
        render_occupancy(grid, "#009E73")


def test_pictures_are_trimmed_to_one_box() -> None:
    low = render_occupancy(cube(16, (slice(0, 4), slice(0, 4), slice(0, 4))), "#009E73")
    high = render_occupancy(cube(16, (slice(8, 12), slice(0, 4), slice(8, 12))), "#009E73")
    first, second = trim_together([low, high])
    assert first.shape == second.shape
    assert first.shape[0] < low.shape[0] and first.shape[1] < low.shape[1]
    assert (first[..., 3] > 0).sum() == (low[..., 3] > 0).sum()
    assert trim_together([]) == []
    empty = np.zeros((4, 5, 4), dtype=np.uint8)
    assert trim_together([empty])[0].shape == (4, 5, 4)


def test_drawing_is_fast(example) -> None:
    grid = example.samples[0].occupancies["truth"]
    render_occupancy(grid, "#D55E00")
    times = []
    for _ in range(8):
        start = time.perf_counter()
        render_occupancy(grid, "#D55E00")
        times.append(time.perf_counter() - start)
    # 15 ms on one core; the bound leaves room for a busy machine and still fails a per-cell loop
    assert min(times) < 0.1
