"""Volume IoU, surface points, Chamfer distances and the metrics of features."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.metrics.features import feature_cosine, feature_l1, feature_metrics
from eventsam.metrics.occupancy import volume_iou
from eventsam.metrics.point_cloud import EMPTY_DISTANCE, occupancy_scores, point_cloud_scores, surface_points
from eventsam.models.embedder import Embedded


def sphere(resolution: int, radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    axis = (np.arange(resolution) + 0.5) / resolution - 0.5
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    return np.linalg.norm(cells - np.array(centre), axis=-1) < radius


def test_volume_iou_per_sample_and_empty_grids() -> None:
    prediction, target = torch.zeros(2, 4, 4, 4, 4, dtype=torch.bool).unbind(0)
    prediction[0, :2], target[0, 1:3] = True, True
    prediction[1], target[1] = True, True
    prediction[2, 0] = True
    assert volume_iou(prediction, target).tolist() == [1 / 3, 1.0, 0.0, 1.0]
    assert volume_iou(prediction, target).dtype == torch.float64


def test_volume_iou_refuses() -> None:
    grid = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"got prediction torch\.float32"):
        volume_iou(grid.float(), grid)
    with pytest.raises(ValueError, match="expected equal shapes"):
        volume_iou(grid, grid[0])


def test_surface_points_of_one_cell_are_its_six_faces() -> None:
    grid = np.zeros((4, 4, 4), dtype=bool)
    grid[0, 1, 3] = True
    centre = (np.array([0, 1, 3]) + 0.5) / 4 - 0.5
    expected = {tuple(centre + sign * np.eye(3)[axis] / 8) for axis in range(3) for sign in (-1, 1)}
    assert set(map(tuple, surface_points(grid))) == expected


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16))
def test_surface_points_lie_between_filled_and_empty(seed) -> None:
    grid = np.random.default_rng(seed).random((5, 5, 5)) < 0.3
    padded = np.pad(grid, 1)
    points = surface_points(grid)
    assert np.abs(points).max(initial=0) <= 0.5
    for point in points:
        cell = (point + 0.5) * 5 + 1
        axis = int(np.argmin(np.abs(cell - np.round(cell))))
        step = 0.5 * np.eye(3)[axis]
        sides = [padded[tuple(np.floor(cell + sign * step).astype(int))] for sign in (-1, 1)]
        assert sides[0] != sides[1]
    assert len(points) == sum(np.diff(padded.astype(int), axis=a).astype(bool).sum() for a in range(3))


def test_sphere_surface_is_near_its_radius_at_any_resolution() -> None:
    for resolution in (16, 32):
        radii = np.linalg.norm(surface_points(sphere(resolution, 0.3)), axis=1)
        assert np.abs(radii - 0.3).max() < 1 / resolution
    scores = occupancy_scores(sphere(16, 0.3), sphere(32, 0.3))
    assert scores.chamfer < 0.03
    assert scores.f_score > 0.95


def test_directions_of_the_distances() -> None:
    truth = sphere(16, 0.2)
    with_extra = truth | sphere(16, 0.1, (0.35, 0.35, 0.35))
    invented, missed = occupancy_scores(with_extra, truth), occupancy_scores(truth, with_extra)
    assert invented.cd_p > invented.cd_n == 0.0
    assert (missed.cd_p, missed.cd_n) == (invented.cd_n, invented.cd_p)
    assert invented.chamfer == invented.cd_p / 2


def test_a_shift_of_one_cell_costs_at_most_one_cell() -> None:
    truth = sphere(16, 0.3)
    scores = occupancy_scores(np.roll(truth, 1, axis=0), truth)
    assert 0 < scores.chamfer <= 1 / 16


def test_empty_shapes_have_a_stated_distance() -> None:
    empty, full = np.zeros((8, 8, 8), dtype=bool), sphere(8, 0.3)
    for pair in ((empty, full), (full, empty)):
        scores = occupancy_scores(*pair)
        assert scores == (math.sqrt(3), EMPTY_DISTANCE, math.sqrt(3), 0.0)
    assert occupancy_scores(empty, empty) == (0.0, 0.0, 0.0, 1.0)
    corners = np.zeros((8, 8, 8), dtype=bool), np.zeros((8, 8, 8), dtype=bool)
    corners[0][0, 0, 0], corners[1][7, 7, 7] = True, True
    assert occupancy_scores(*corners).chamfer < EMPTY_DISTANCE


def test_the_threshold_is_strict() -> None:
    a, b = np.zeros((1, 3)), np.array([[0.5, 0.0, 0.0]])
    assert point_cloud_scores(a, b, threshold=0.5).f_score == 0.0
    assert point_cloud_scores(a, b, threshold=0.51).f_score == 1.0


def test_point_cloud_refusals() -> None:
    points = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"truth must be finite points \(n, 3\), got shape \(2, 2\)"):
        point_cloud_scores(points, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="prediction must be finite"):
        point_cloud_scores(np.full((2, 3), np.nan), points)
    with pytest.raises(ValueError, match="threshold must be above 0"):
        point_cloud_scores(points, points, threshold=0.0)
    with pytest.raises(ValueError, match=r"expected a bool grid \(R, R, R\), got float64 \(2, 3\)"):
        surface_points(points)


def test_feature_metrics_per_block_and_projected() -> None:
    tokens = torch.randn(2, 3, 4)
    taught = Embedded(tokens, {0: tokens, 2: tokens})
    learned = Embedded(tokens + 0.5, {2: -tokens})
    states = feature_metrics(learned, taught, torch.tensor([4, 9]))
    assert set(states) == {"l1", "cosine", "l1/block_2", "cosine/block_2"}
    assert states["l1"].mean() == pytest.approx(0.5)
    assert states["cosine/block_2"].mean() == pytest.approx(-1.0)
    assert states["l1"].to_array()[:, 0].tolist() == [4.0, 9.0]
    full = feature_metrics(learned, taught, torch.tensor([4, 9]), "/full")
    assert set(full) == {"l1/full", "cosine/full", "l1/full/block_2", "cosine/full/block_2"}
    with pytest.raises(ValueError, match="expected equal token shapes"):
        feature_l1(tokens, tokens[:1])
    assert feature_cosine(tokens, torch.zeros_like(tokens)).tolist() == [0.0, 0.0]
