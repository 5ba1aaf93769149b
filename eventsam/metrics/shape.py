"""All of a shape's metrics at once, by alignment: solids by volume, surfaces by distance, normals and F-score."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eventsam.metrics.alignment import Alignment, alignment, check_alignment
from eventsam.metrics.nearest import PointIndex
from eventsam.metrics.point_cloud import EMPTY_DISTANCE, f_score
from eventsam.metrics.solid import solid_iou
from eventsam.metrics.state import MetricState, PerSample
from eventsam.metrics.surface import Surface, sample_grid, transformed

Grid = NDArray[np.bool_]


@dataclass(frozen=True)
class ShapeProtocol:
    """How shapes are compared: alignment policies, F-score thresholds in object units, points per surface, their seed.

    Names are "<metric>/<alignment>", as in "viou_solid/none" or "f_score_0.02/icp".
    """

    alignments: tuple[Alignment, ...] = ("none",)
    thresholds: tuple[float, ...] = (0.01, 0.02, 0.05)
    num_points: int = 30_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.alignments:
            check_alignment(name)
        if not self.alignments or not self.thresholds or min(self.thresholds) <= 0 or self.num_points < 1:
            raise ValueError(
                f"expected alignments, thresholds above 0 and points, got {self.alignments}, {self.thresholds}, "
                f"{self.num_points}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Every metric's name."""
        metrics = ("viou_solid", "cd_p", "cd_n", "chamfer", "cd_normal", *map(_f_score_name, self.thresholds))
        return tuple(f"{metric}/{policy}" for policy in self.alignments for metric in metrics)

    def scores(self, prediction: Grid, truth: Grid) -> dict[str, float]:
        """Return the metrics of two bool grids (R, R, R) of the cube [-0.5, 0.5]^3 by name."""
        # One seed for both: equal grids give equal points and so distances of exactly 0.
        ours, theirs = (sample_grid(grid, self.num_points, self.seed) for grid in (prediction, truth))
        index = PointIndex(theirs.points) if len(theirs.points) else None
        found: dict[str, float] = {}
        for policy in self.alignments:
            map_to_truth = alignment(policy, ours, theirs)
            laid = ours if policy == "none" else transformed(ours, *map_to_truth)
            scores = {"viou_solid": solid_iou(prediction, truth, None if policy == "none" else map_to_truth)}
            scores |= surface_scores(laid, theirs, self.thresholds, index)
            found |= {f"{metric}/{policy}": value for metric, value in scores.items()}
        return found

    def states(self, prediction: Tensor, truth: Tensor, sample_index: Tensor) -> dict[str, MetricState]:
        """Return the per-sample states of bool grids (B, R, R, R)."""
        grids = zip(prediction.cpu().numpy(), truth.cpu().numpy(), strict=True)
        scores = [self.scores(predicted, true) for predicted, true in grids]
        indices = sample_index.cpu().numpy()
        return {name: PerSample(indices, [score[name] for score in scores]) for name in self.names}


def surface_scores(
    prediction: Surface, truth: Surface, thresholds: tuple[float, ...], index: PointIndex | None = None
) -> dict[str, float]:
    """Return "cd_p", "cd_n", "chamfer", "cd_normal" and "f_score_<threshold>" of two surfaces in one frame and unit.

    `cd_p` is the mean unsquared distance from prediction to truth, `cd_n` from truth to prediction, `chamfer` their
    mean; `cd_normal` the mean over both directions of 1 - |cosine| between a point's normal and its nearest point's
    (0: surfaces run alike, 1: across). One empty surface gives `EMPTY_DISTANCE`, `cd_normal` 1 and F-score 0; two
    empty ones agree: 0, 0 and 1. `index` is the truth's, where the caller has it.
    """
    names = [_f_score_name(threshold) for threshold in thresholds]
    if not len(prediction.points) or not len(truth.points):
        agree = len(prediction.points) == len(truth.points)
        distance = 0.0 if agree else EMPTY_DISTANCE
        distances = dict.fromkeys(("cd_p", "cd_n", "chamfer"), distance)
        return distances | {"cd_normal": float(not agree)} | dict.fromkeys(names, float(agree))
    to_truth = (index or PointIndex(truth.points)).nearest(prediction.points)
    to_prediction = PointIndex(prediction.points).nearest(truth.points)
    cd_p, cd_n = float(to_truth.distance.mean()), float(to_prediction.distance.mean())
    across = (
        _across(prediction.normals, truth.normals[to_truth.place])
        + _across(truth.normals, prediction.normals[to_prediction.place])
    ) / 2
    scores = {"cd_p": cd_p, "cd_n": cd_n, "chamfer": (cd_p + cd_n) / 2, "cd_normal": across}
    shares = (f_score(to_truth.distance, to_prediction.distance, threshold) for threshold in thresholds)
    return scores | dict(zip(names, shares, strict=True))


def _across(normals: NDArray[np.float64], partners: NDArray[np.float64]) -> float:
    return float(np.clip(1 - np.abs(np.einsum("ij,ij->i", normals, partners)), 0, None).mean())


def _f_score_name(threshold: float) -> str:
    return f"f_score_{threshold:g}"
