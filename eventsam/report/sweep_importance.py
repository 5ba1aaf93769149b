"""How much of the spread of scores each swept parameter explains by itself, and how much chance would."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsam.report.sweep import Axis, SweepReport, TrialRow

NUM_SHUFFLES = 1000
FEWEST_TRIALS = 6
"""With fewer trials than this, any parameter explains most of anything."""


@dataclass(frozen=True)
class Importance:
    """A parameter's share of the variance of scores.

    `share` is corrected for the number of groups (0 on average where there is no effect, cut there); `chance` is what
    95 % of shuffled scores stay below: a share under it is not told apart from nothing.
    """

    name: str
    share: float
    chance: float

    @property
    def told_apart(self) -> bool:
        """Say whether the share is more than chance gives."""
        return self.share > self.chance


def common_samples(report: SweepReport) -> float:
    """Return the largest number of samples at which every scored trial was validated, 0 without one."""
    curves = [{samples for samples, _ in trial.curve} for trial in report.trials if trial.scored and trial.curve]
    shared = set.intersection(*curves) if curves else set()
    return max(shared, default=0.0)


def importances(report: SweepReport, samples: float) -> list[Importance]:
    """Return each parameter's share, the largest first; none for fewer than six trials or equal scores.

    The scores are those at `samples`, the same for all trials: comparing a stopped trial's early score with a finished
    one's would measure the scheduler. One-way analysis of variance: epsilon squared (Kelley 1935) of the scores grouped
    by label, or by thirds of a range. It sees each parameter alone, averaged over the others as they were drawn:
    interactions stay unseen, and with few trials drawn values may happen to go together.
    """
    rows = [(trial, dict(trial.curve).get(samples)) for trial in report.trials if trial.scored]
    known = [(trial, score) for trial, score in rows if score is not None and np.isfinite(score)]
    scores = np.array([score for _, score in known])
    if len(known) < FEWEST_TRIALS or np.ptp(scores) == 0:
        return []
    found = [_importance(axis, [trial for trial, _ in known], scores) for axis in report.axes]
    return sorted((item for item in found if item is not None), key=lambda item: -item.share)


def _importance(axis: Axis, trials: Sequence[TrialRow], scores: NDArray[np.float64]) -> Importance | None:
    here = np.array([axis.name in trial.values for trial in trials])
    groups = _groups(axis, [trial for trial, matters in zip(trials, here, strict=True) if matters])
    own = scores[here]
    num_groups = len(np.unique(groups))
    if len(own) < FEWEST_TRIALS or num_groups < 2 or len(own) <= num_groups or np.ptp(own) == 0:
        return None
    # Its own generator: the same trials give the same page.
    generator = np.random.default_rng(0)
    shuffled = [_share(groups, generator.permutation(own)) for _ in range(NUM_SHUFFLES)]
    return Importance(axis.name, max(0.0, _share(groups, own)), max(0.0, float(np.quantile(shuffled, 0.95))))


def _groups(axis: Axis, trials: Sequence[TrialRow]) -> NDArray[np.int64]:
    """Return the group of each trial: its label, or the third of the trials that its value falls into."""
    places = np.array([axis.place(trial.values[axis.name]) for trial in trials])
    if axis.labels:
        return np.unique(places, return_inverse=True)[1].astype(np.int64)
    ranks = np.argsort(np.argsort(places, kind="stable"), kind="stable")
    return (ranks * 3 // max(1, len(places))).astype(np.int64)


def _share(groups: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """Return epsilon squared: the share of variance between groups, less what as many random groups would show."""
    total = float(((scores - scores.mean()) ** 2).sum())
    within = sum(float(((scores[groups == g] - scores[groups == g].mean()) ** 2).sum()) for g in np.unique(groups))
    num_groups, num_scores = len(np.unique(groups)), len(scores)
    return 1 - within / total * (num_scores - 1) / (num_scores - num_groups)
