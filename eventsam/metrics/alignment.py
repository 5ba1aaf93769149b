"""How a predicted surface is laid over the true one before they are compared; the policy is named in the metric."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from eventsam.metrics.nearest import PointIndex
from eventsam.metrics.surface import Surface
from eventsam.unknown_name import unknown_name

Array = NDArray[np.float64]
Alignment = Literal["none", "centroid_scale", "icp"]
"""none: as predicted. centroid_scale: moved and scaled to the true centroid and root mean square radius, not turned.
icp: the best similarity (turn, move, one scale) found by iterated closest points from there."""
ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)

ICP_POINTS = 2000
ICP_ITERATIONS = 30
ICP_TOLERANCE = 1e-5


class Similarity(NamedTuple):
    """The map p -> p @ linear + offset on row vectors; `linear` (3, 3) is a rotation times one scale."""

    linear: Array
    offset: Array

    def then(self, after: "Similarity") -> "Similarity":
        """Return this map followed by another."""
        return Similarity(self.linear @ after.linear, self.offset @ after.linear + after.offset)

    def inverse(self) -> "Similarity":
        """Return the map back."""
        back = np.linalg.inv(self.linear).astype(np.float64)
        return Similarity(back, -self.offset @ back)


IDENTITY = Similarity(np.eye(3), np.zeros(3))


def check_alignment(name: str) -> Alignment:
    """Return the policy; raise ValueError with the nearest name."""
    if name not in ALIGNMENTS:
        raise ValueError(unknown_name("alignment", name, ALIGNMENTS))
    return name


def alignment(policy: Alignment, prediction: Surface, truth: Surface) -> Similarity:
    """Return the map of the prediction onto the truth; the identity where either is empty."""
    if policy == "none" or not len(prediction.points) or not len(truth.points):
        return IDENTITY
    start = _centroid_scale(prediction.points, truth.points)
    return start if policy == "centroid_scale" else _icp(prediction.points, truth.points, start)


def fit_similarity(source: Array, target: Array) -> Similarity:
    """Return the similarity that maps points (n, 3) best, in least squares, onto their partners (Umeyama 1991)."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    from_mean, to_mean = source - source_mean, target - target_mean
    left, strengths, right = np.linalg.svd(from_mean.T @ to_mean)
    # A mirror image fits better than any turn where the determinant is negative; it is no alignment.
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    spread = float((from_mean**2).sum())
    scale = float((strengths * signs).sum()) / spread if spread > 0 else 1.0
    linear = scale * (left * signs) @ right
    return Similarity(linear, target_mean - source_mean @ linear)


def _centroid_scale(prediction: Array, truth: Array) -> Similarity:
    centre, goal = prediction.mean(axis=0), truth.mean(axis=0)
    own, wanted = (float(np.sqrt(((p - c) ** 2).sum(axis=1).mean())) for p, c in ((prediction, centre), (truth, goal)))
    scale = wanted / own if own > 0 and wanted > 0 else 1.0
    return Similarity(scale * np.eye(3), goal - scale * centre)


def _icp(prediction: Array, truth: Array, start: Similarity) -> Similarity:
    """Iterated closest points (Besl and McKay 1992), point to point, from `start`; the best map met is returned.

    Partners are searched both ways: one way alone, a free scale would shrink the prediction into the truth.
    """
    source, target = _thinned(prediction), _thinned(truth)
    index = PointIndex(target)
    best, best_error, found = start, np.inf, start
    for _ in range(ICP_ITERATIONS):
        moved = source @ found.linear + found.offset
        forward, backward = index.nearest(moved), PointIndex(moved).nearest(target)
        error = float((forward.distance**2).mean() + (backward.distance**2).mean())
        if error < best_error:
            best = found
        if error > best_error - ICP_TOLERANCE * max(error, 1e-12):
            break
        best_error = error
        pairs = np.concatenate([source, source[backward.place]]), np.concatenate([target[forward.place], target])
        found = fit_similarity(*pairs)
    return best


def _thinned(points: Array) -> Array:
    """Every k-th point, so that about `ICP_POINTS` remain, spread as the points are."""
    return points[:: max(1, len(points) // ICP_POINTS)]
