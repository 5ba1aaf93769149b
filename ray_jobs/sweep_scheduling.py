"""Schedulers and searches of Ray Tune as a sweep uses them: they count in samples and survive the driver."""

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    HyperBandForBOHB,
    HyperBandScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import Searcher

from ray_jobs.sweep_plan import Plan, mutable_keys
from ray_jobs.sweep_store import TrialFolder
from ray_jobs.sweep_trial import CAUSE, ROUND, SCORE, TIME
from search_spaces import Parameter, Range, Space

EXTRAS: Mapping[str, tuple[str, ...]] = {"optuna": ("optuna",), "bohb": ("hpbandster", "ConfigSpace")}
"""The packages that a search needs and the project does not."""


@dataclass(frozen=True)
class Named:
    """A trial as the rungs know it: by its point, so that it is the same one after a restart."""

    trial_id: str


class Asha(AsyncHyperBandScheduler):
    """Asynchronous successive halving (arXiv 1810.05934) whose rungs can be filled from the records of a sweep."""

    def __init__(self, name_of: Callable[[Any], str], **settings: Any) -> None:
        super().__init__(time_attr=TIME, metric=SCORE, **settings)
        self.name_of = name_of

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Give the trial its bracket."""
        super().on_trial_add(tune_controller, Named(self.name_of(trial)))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide whether the trial goes on."""
        return super().on_trial_result(tune_controller, Named(self.name_of(trial)), result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Take a last score into the rungs; one of a failed trial is none."""
        if result.get(CAUSE) or not math.isfinite(result.get(SCORE, math.nan)):
            self._trial_info.pop(self.name_of(trial), None)
            return
        super().on_trial_complete(tune_controller, Named(self.name_of(trial)), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that never ran."""
        self._trial_info.pop(self.name_of(trial), None)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that died."""
        self._trial_info.pop(self.name_of(trial), None)

    def replay(self, trials: Sequence[TrialFolder]) -> None:
        """Hear again what trials reported before, in the order in which they did."""
        records = [(record["time"], trial.name, record) for trial in trials for record in trial.log.read()]
        for name in {name for _, name, _ in records}:
            super().on_trial_add(None, Named(name))
        for _, name, record in sorted(records, key=lambda row: row[0]):
            result = {TIME: record["samples"], SCORE: record["score"]}
            super().on_trial_result(None, Named(name), result)


def make_scheduler(plan: Plan, name_of: Callable[[Any], str], recorded: Sequence[TrialFolder]) -> TrialScheduler:
    """Return the plan's scheduler; ASHA's rungs know what was recorded before."""
    options, mode = plan.options, plan.space.mode
    longest, first = plan.max_samples, plan.first_samples
    if options.scheduler == "fifo":
        return FIFOScheduler()
    if options.scheduler == "asha":
        # Rungs lie a factor apart, from the first validation on.
        asha = Asha(name_of, mode=mode, max_t=longest, grace_period=first, reduction_factor=options.reduction)
        asha.replay(recorded)
        return asha
    if options.scheduler == "hyperband":
        kind = HyperBandForBOHB if options.search == "bohb" else HyperBandScheduler
        # HyperBand counts in whole units of time: one is the interval of validations.
        return kind(
            time_attr=ROUND, metric=SCORE, mode=mode, max_t=max(1, longest // first), reduction_factor=options.reduction
        )
    ranges = {key: plan.space.parameters[key] for key in mutable_keys(plan.space)}
    return PopulationBasedTraining(
        time_attr=TIME,
        metric=SCORE,
        mode=mode,
        perturbation_interval=first,
        hyperparam_mutations={"values": {key: _mutation(parameter) for key, parameter in ranges.items()}},
        custom_explore_fn=lambda config: {**config, "values": _within(plan.space, config["values"])},
        log_config=False,
    )


def make_search(kind: str, plan: Plan, num_known: int = 0) -> Searcher:
    """Return Ray Tune's searcher over the plan's space.

    Its seed depends on how many points are known, so that a resumed search does not draw them all again.

    Raises:
        ValueError: a package that it needs is not installed; the command that installs it is given.
    """
    lacking = [name for name in EXTRAS[kind] if importlib.util.find_spec(name) is None]
    if lacking:
        raise ValueError(f"--search {kind} needs {', '.join(lacking)}: pip install {' '.join(EXTRAS[kind])}")
    seed = plan.options.search_seed + num_known
    searcher: Searcher
    if kind == "optuna":
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        searcher = OptunaSearch(seed=seed)
    else:
        from ray.tune.search.bohb import TuneBOHB

        searcher = TuneBOHB(seed=seed)
    searcher.set_search_properties(SCORE, plan.space.mode, tune_space(plan.space))
    return searcher


def tune_space(space: Space) -> dict[str, Any]:
    """Return a space as Ray Tune's distributions."""
    return {key: _distribution(parameter) for key, parameter in space.parameters.items()}


def _distribution(parameter: Parameter) -> Any:
    if not isinstance(parameter, Range):
        return tune.choice(list(parameter.labels))
    if parameter.whole:
        low, high = int(parameter.low), int(parameter.high) + 1
        return tune.lograndint(low, high) if parameter.log else tune.randint(low, high)
    return (tune.loguniform if parameter.log else tune.uniform)(parameter.low, parameter.high)


def _mutation(parameter: Parameter) -> Any:
    """Return what population based training draws anew from; of labels it takes neighbours."""
    return _distribution(parameter) if isinstance(parameter, Range) else list(parameter.labels)


def _within(space: Space, values: dict[str, Any]) -> dict[str, Any]:
    """Return values with those of ranges pushed back into them."""
    kept = dict(values)
    for key, parameter in space.parameters.items():
        if isinstance(parameter, Range):
            kept[key] = parameter.at(min(1.0, max(0.0, parameter.share_of(max(parameter.low, float(values[key]))))))
    return kept
