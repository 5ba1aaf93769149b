"""Nearest neighbours are exact, wherever queries and points lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from eventsam.metrics.nearest import PointIndex


@given(st.integers(0, 2**16), st.integers(1, 400), st.sampled_from([0.0, 1e-9, 0.3, 7.0]))
def test_equal_to_a_k_d_tree(seed: int, num_points: int, away: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(num_points, 3)) * rng.choice([1.0, 1e-3, 0.0], size=3)
    queries = np.concatenate([points[:20], rng.normal(size=(50, 3)) + away])
    distance, place = PointIndex(points).nearest(queries)
    np.testing.assert_allclose(distance, cKDTree(points).query(queries)[0], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(points[place] - queries, axis=1), distance, rtol=1e-13, atol=1e-15)


def test_surfaces_in_order_are_exact() -> None:
    rng = np.random.default_rng(0)
    sphere = rng.normal(size=(5000, 3))
    sphere = np.sort(sphere / np.linalg.norm(sphere, axis=1, keepdims=True), axis=0)
    for moved in (sphere + np.array([0.01, 0, 0]), 0.2 * sphere, sphere + 3.0):
        expected = cKDTree(sphere).query(moved)[0]
        np.testing.assert_allclose(PointIndex(sphere).nearest(moved).distance, expected, rtol=1e-13)


def test_odd_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"finite points \(m, 3\), m >= 1, got shape \(0, 3\)"):
        PointIndex(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="finite queries"):
        PointIndex(np.zeros((1, 3))).nearest(np.full((1, 3), np.nan))
    assert PointIndex(np.zeros((1, 3))).nearest(np.zeros((0, 3))).distance.shape == (0,)
