"""Chamfer distances and F-score between shapes, in object units, on the surfaces of occupancy grids or on points."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventsam.metrics.nearest import PointIndex

Points = NDArray[np.float64]

EMPTY_DISTANCE = math.sqrt(3.0)
"""The distance to or from an empty shape: the cube's diagonal, which no real distance inside the cube exceeds."""


class PointCloudScores(NamedTuple):
    """Means of unsquared nearest distances, and the share of points closer than a threshold.

    `cd_p` from prediction to truth (what was invented), `cd_n` from truth to prediction (what was missed), `chamfer`
    their mean; `f_score` the harmonic mean of the shares of predicted and of true points with distance < threshold.
    """

    cd_p: float
    cd_n: float
    chamfer: float
    f_score: float


def point_cloud_scores(prediction: NDArray[Any], truth: NDArray[Any], threshold: float = 0.05) -> PointCloudScores:
    """Compare points (n, 3) with points (m, 3) in one frame and unit.

    One empty cloud gives `EMPTY_DISTANCE` both ways and F-score 0; two empty ones agree, 0 and 1.
    Raises ValueError for other shapes, points that are not finite, or a threshold of 0 or less.
    """
    for name, points in (("prediction", prediction), ("truth", truth)):
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise ValueError(f"{name} must be finite points (n, 3), got shape {points.shape}")
    if threshold <= 0:
        raise ValueError(f"threshold must be above 0, got {threshold}")
    if len(prediction) == 0 or len(truth) == 0:
        agree = len(prediction) == len(truth)
        distance = 0.0 if agree else EMPTY_DISTANCE
        return PointCloudScores(distance, distance, distance, float(agree))
    to_truth = PointIndex(truth).nearest(prediction).distance
    to_prediction = PointIndex(prediction).nearest(truth).distance
    cd_p, cd_n = float(to_truth.mean()), float(to_prediction.mean())
    return PointCloudScores(cd_p, cd_n, (cd_p + cd_n) / 2, f_score(to_truth, to_prediction, threshold))


def f_score(to_truth: Points, to_prediction: Points, threshold: float) -> float:
    """Return the harmonic mean of the shares of distances (n,) and (m,) strictly below the threshold."""
    precision, recall = float((to_truth < threshold).mean()), float((to_prediction < threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def surface_points(occupancy: NDArray[np.bool_]) -> Points:
    """Return the centres (n, 3) of the faces between filled and empty cells, in the cube [-0.5, 0.5]^3.

    Every exposed face gives one point (outside the cube is empty), so points cover the surface evenly, the same ones
    for the same grid. Raises ValueError for anything but a bool grid (R, R, R).
    """
    if occupancy.ndim != 3 or len(set(occupancy.shape)) != 1 or occupancy.dtype != np.bool_:
        raise ValueError(f"expected a bool grid (R, R, R), got {occupancy.dtype} {occupancy.shape}")
    resolution = occupancy.shape[0]
    padded = np.pad(occupancy, 1)
    points = []
    for axis in range(3):
        faces = np.argwhere(np.diff(padded, axis=axis)).astype(np.float64)
        # Along its axis, face i lies before cell i; the other two indices are padded cells, centred half a cell on.
        other = [a for a in range(3) if a != axis]
        faces[:, other] -= 0.5
        points.append(faces / resolution - 0.5)
    return np.concatenate(points)


def occupancy_scores(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], threshold: float = 0.05
) -> PointCloudScores:
    """Compare the surfaces of two bool grids (R, R, R), which may differ in resolution."""
    return point_cloud_scores(surface_points(prediction), surface_points(truth), threshold)
