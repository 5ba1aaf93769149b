"""Runs side by side: the parameters in which they differ, their best metrics, and means over seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from eventsam.report.data import LossRecord
from eventsam.report.palette import METRICS, direction_of, in_order

SEED = "seed"
WHERE = ("folder", "root", "checkpoint", "path")
"""Last words of parameters that say where something lies; they come after those that decide what is computed."""


@dataclass(frozen=True)
class Score:
    """A number of a run, with its interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ComparedRun:
    """What a comparison knows of one run.

    `best` are the metrics of the best checkpoint, `last` those of the newest validation, `results` those on held-out
    samples; `monitor` is the metric that chose the best checkpoint, `lower_is_better` its direction where known.
    """

    name: str
    status: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Score] = field(default_factory=dict)
    last: Mapping[str, Score] = field(default_factory=dict)
    results: Mapping[str, Score] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    curves: Sequence[LossRecord] = ()
    monitor: str | None = None
    lower_is_better: bool | None = None


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in nothing but their seed: names, seeds, and each best metric's mean with its 95 % interval."""

    names: tuple[str, ...]
    seeds: tuple[str, ...]
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class Comparison:
    """Runs, best first, and what to show of them: parameters that differ, metrics, and what they all share."""

    runs: tuple[ComparedRun, ...]
    differing: tuple[str, ...]
    shared: Mapping[str, Any]
    groups: tuple[SeedGroup, ...]

    def score_names(self, kind: str) -> tuple[str, ...]:
        """Return the metrics of one kind (best, last, results) over all runs, the monitored one first."""
        names = (name for run in self.runs for name in getattr(run, kind))
        monitors = tuple(dict.fromkeys(run.monitor for run in self.runs if run.monitor))
        return in_order(names, (*monitors, *METRICS))

    def winners(self, kind: str, name: str) -> frozenset[int]:
        """Return the places of the runs with the best value of a metric; none where all are equal."""
        values = {place: getattr(run, kind).get(name) for place, run in enumerate(self.runs)}
        known = {
            place: score.value for place, score in values.items() if score is not None and score.value == score.value
        }
        if len(set(known.values())) < 2:
            return frozenset()
        lower = _lower(self.runs, name)
        best = min(known.values()) if lower else max(known.values())
        return frozenset(place for place, value in known.items() if value == best)


def compare(runs: Iterable[ComparedRun]) -> Comparison:
    """Put runs side by side, the best by the monitored metric first.

    Raises:
        ValueError: there is no run.
    """
    given = list(runs)
    if not given:
        raise ValueError("there is no run to compare")
    names = list(dict.fromkeys(name for run in given for name in run.parameters))
    differing = [name for name in names if len({_text(run.parameters.get(name, _ABSENT)) for run in given}) > 1]
    shared = {name: given[0].parameters[name] for name in names if name not in differing}
    ordered = sorted(given, key=_rank) if len({run.monitor for run in given}) == 1 else given
    return Comparison(tuple(ordered), tuple(sorted(differing, key=_place_last)), shared, tuple(seed_groups(ordered)))


def parameters_shown(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's parameters without those that repeat others: what it changes, and what a sweep drew for it."""
    return {name: value for name, value in parameters.items() if not name.startswith(("changed.", "swept."))}


def seed_groups(runs: Sequence[ComparedRun]) -> list[SeedGroup]:
    """Return the groups of two or more finished runs that differ in their seed alone."""
    grouped: dict[tuple[tuple[str, str], ...], list[ComparedRun]] = {}
    for run in runs:
        if run.parameters and run.best:
            rest = tuple(sorted((key, _text(value)) for key, value in run.parameters.items() if key != SEED))
            grouped.setdefault(rest, []).append(run)
    groups = []
    for members in grouped.values():
        seeds = [_text(run.parameters.get(SEED, "")) for run in members]
        if len(set(seeds)) < 2 or len(set(seeds)) < len(seeds):
            continue
        names = [name for name in members[0].best if all(name in run.best for run in members)]
        scores = {name: mean_interval([run.best[name].value for run in members]) for name in names}
        groups.append(SeedGroup(tuple(run.name for run in members), tuple(seeds), scores))
    return groups


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Score:
    """Return the mean of independent values with Student's t interval; no interval for one value."""
    if len(values) < 2:
        return Score(values[0])
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    mean = fmean(values)
    return Score(mean, mean - float(half), mean + float(half))


_ABSENT = "–"


def _text(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _rank(run: ComparedRun) -> tuple[bool, float]:
    score = run.best.get(run.monitor or "")
    if score is None or score.value != score.value:
        return True, 0.0
    lower = run.lower_is_better
    return False, score.value if (not _higher(run.monitor or "") if lower is None else lower) else -score.value


def _lower(runs: Sequence[ComparedRun], name: str) -> bool:
    stated = [run.lower_is_better for run in runs if run.monitor == name and run.lower_is_better is not None]
    return stated[0] if stated else not _higher(name)


def _higher(name: str) -> bool:
    return direction_of(name.rpartition("/")[2]).higher_is_better


def _place_last(name: str) -> tuple[bool, bool]:
    """Sort what decides the computation first, then places, then the seed; the recipe's own order within each."""
    return name == SEED, name.rpartition(".")[2] in WHERE
