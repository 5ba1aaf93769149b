"""The one Tune driver: a plan's points trained as trials, decided on by a scheduler, resumable from its folder."""

import dataclasses
import logging
import math
import os
import random
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import ray
from ray import tune

from eventsam.checkpoint import CheckpointWriteError
from eventsam.provenance import code_hash
from eventsam.spec import Spec, from_json, to_json
from ray_jobs.sweep_placement import Asked, Placement
from ray_jobs.sweep_plan import SEQUENTIAL, Plan, SweepOptions, num_trials, words
from ray_jobs.sweep_samples import SampleLibrary
from ray_jobs.sweep_scheduling import make_scheduler, make_search
from ray_jobs.sweep_search import NamedPoints
from ray_jobs.sweep_store import ENDED, FAILED, RUNNING, STOPPED, SweepFolder, TrialState, json_differences
from ray_jobs.sweep_tracking import SweepTracking
from ray_jobs.sweep_trial import CAUSE, SweepTrial, TrialSettings
from search_spaces import Space, load_space

log = logging.getLogger(__name__)

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Ray Tune's own record of the sweep is never read; the folder's is the truth.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    # Ctrl-C ends the sweep at once: every trial has its checkpoints.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
MAX_FAILURES = 2
"""How often the process of a trial may die; an error of its training is no such death and is not tried again."""
PROGRESS_S = 30.0
"""How often the running trials are told, between the ends of trials."""


def record_of(plan: Plan, asked: Asked | None = None) -> dict[str, Any]:
    """Return what a sweep's folder states, as JSON-ready values; what was asked of the cluster may change later."""
    return {
        "recipe_name": plan.recipe_name,
        "recipe": to_json(plan.recipe),
        "space": plan.space.to_json(),
        "options": asdict(plan.options),
        "catalog_hash": plan.catalog_hash,
        "code_hash": code_hash(),
        "asked": asdict(asked or Asked()),
    }


def check_same(folder: SweepFolder, plan: Plan) -> None:
    """Refuse to go on with another sweep than the folder's; other code is told and let pass.

    Raises:
        ValueError: recipe, space, options or catalog differ; the differences are shown.
    """
    before, after = folder.read_record(), record_of(plan)
    if before["code_hash"] != after["code_hash"]:
        log.warning("the code changed since the sweep began: %s -> %s", before["code_hash"], after["code_hash"])
    free = {"code_hash": "", "asked": {}}
    changed = json_differences(before | free, after | free)
    if changed:
        shown = "\n  ".join(changed[:20])
        raise ValueError(
            f"{folder.path} holds another sweep:\n  {shown}\nundo the change, or start one under a new name"
        )


def stated(folder: SweepFolder) -> tuple[str, Spec, Space, SweepOptions, Asked]:
    """Return what a sweep's folder states: recipe, the space as its module states it now, options, resources."""
    record = folder.read_record()
    found, options = load_space(record["space"]["name"]), SweepOptions(**record["options"])
    space = dataclasses.replace(found, metric=record["space"]["metric"], mode=record["space"]["mode"])
    return record["recipe_name"], from_json(record["recipe"]), space, options, Asked(**record["asked"])


@dataclass
class Watcher(tune.Callback):
    """Hears of every trial in the driver: writes the journal, tells people and MLflow."""

    plan: Plan
    folder: SweepFolder
    names: tuple[str, ...]
    tracking: SweepTracking | None
    say: Any
    unwritten: list[str] = field(default_factory=list)
    """Trials that had no room for their checkpoints: not their fault, so they have not ended."""
    said_at: float = field(default_factory=time.monotonic)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Ray Tune pickles its callbacks into a record of its own, which is never read."""
        return {}

    def name_of(self, trial: Any) -> str:
        """Return the point of a trial."""
        named: str | None = trial.config.get("point")
        return named or self.names[int(trial.trial_id.rsplit("_", 1)[-1])]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open the trial's run."""
        if self.tracking:
            self.tracking.start(self.name_of(trial), trial.config["values"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Tell now and then how far the running trials are."""
        if time.monotonic() - self.said_at >= PROGRESS_S:
            self.said_at = time.monotonic()
            states = self.folder.states().items()
            running = [f"{name} at {state.samples} samples" for name, state in states if state.status == RUNNING]
            if running:
                self.say("; ".join(running))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write down that a scheduler stopped a trial; one that ended by itself has said so."""
        name = self.name_of(trial)
        if self.folder.trial(name).read_state().status not in ENDED:
            if cause := trial.last_result.get(CAUSE):
                self.unwritten.append(f"{name}: {cause}")
                return
            self.folder.decide(name, STOPPED)
        self._ended(name)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write down that a trial's process died too often."""
        name = self.name_of(trial)
        text = str(trial.get_error() or "its process died").strip().splitlines()[-1]
        self.folder.decide(name, FAILED, text)
        self._ended(name)

    def _ended(self, name: str) -> None:
        states = self.folder.states()
        state, ended = states[name], sum(state.status in ENDED for state in states.values())
        self.say(f"{name} {told(self.plan, state)}  [{ended} of {self.plan.num_trials} trials]")
        if self.tracking:
            self.tracking.end(name, state, best_score(self.plan, states), ended)


def told(plan: Plan, state: TrialState) -> str:
    """Return a trial's state as a person reads it."""
    score = "" if state.score is None else f", {plan.space.metric} {state.score:.4g}"
    cause = f": {state.cause}" if state.cause else ""
    return f"{state.status} after {state.samples} samples{score}{cause} ({words(plan.space, state.values)})"


def best_score(plan: Plan, states: Mapping[str, TrialState]) -> float | None:
    """Return the best newest score of all trials."""
    scores = [state.score for state in states.values() if state.score is not None and state.status != FAILED]
    scores = [score for score in scores if math.isfinite(score)]
    return (max if plan.space.mode == "max" else min)(scores, default=None)


def run_sweep(
    plan: Plan, folder: SweepFolder, placement: Placement, tracking: SweepTracking | None, say: Any = log.info
) -> None:
    """Run the trials that the folder does not call ended, on the connected cluster; returns when all have ended."""
    os.environ.update(ENVIRONMENT)
    random.seed(plan.options.search_seed)
    np.random.seed(plan.options.search_seed)
    for point in plan.trials:
        folder.trial(point.name).write_point(point.values)
    unfinished = tuple(name for name, state in folder.states().items() if state.status not in ENDED)
    num_new = num_trials(plan.options) - len(folder.trials) if plan.options.search in SEQUENTIAL else 0
    if not unfinished and num_new <= 0:
        return
    capacity = int(0.4 * ray.cluster_resources().get("object_store_memory", 2**30))
    library = SampleLibrary.remote(capacity, folder.path, placement.reader_cpus)
    folder.begin()
    try:
        settings = TrialSettings(
            to_json(plan.recipe), plan.space, plan.options, folder.path, unfinished, library, placement.resources,
            plan.first_samples,
        )  # fmt: skip
        watcher = Watcher(plan, folder, unfinished, tracking, say)
        _tuner(plan, folder, placement, settings, watcher, num_new).fit()
        say(f"samples: {_counted(library)}")
        if watcher.unwritten:
            raise CheckpointWriteError(f"{'; '.join(watcher.unwritten)}. Make room, then go on with --resume")
    finally:
        ray.kill(library)
        shutil.rmtree(folder.path / "ray", ignore_errors=True)
    if all(state.status in ENDED for state in folder.states().values()):
        shutil.rmtree(folder.path / "shared", ignore_errors=True)


def _tuner(
    plan: Plan, folder: SweepFolder, placement: Placement, settings: TrialSettings, watcher: Watcher, num_new: int
) -> tune.Tuner:
    names = settings.names
    recorded = [trial for trial in folder.trials if trial.log.path.exists()]
    search, space, num_samples = None, {}, 1
    if plan.options.search in SEQUENTIAL:
        search = NamedPoints(plan, folder, make_search(plan.options.search, plan, len(folder.trials)), names, num_new)
        num_samples = len(names) + num_new
    else:
        states = folder.states()
        space = {"values": tune.grid_search([dict(states[name].values) for name in names])}
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(SweepTrial, settings=settings), placement.factory),
        param_space=space,
        tune_config=tune.TuneConfig(
            scheduler=make_scheduler(plan, watcher.name_of, recorded),
            search_alg=search,
            num_samples=num_samples,
            max_concurrent_trials=(placement.limit or (placement.concurrent if search else 0)) or None,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            # Ray would take up a name again by itself; the folder is this project's own way to do that.
            name=uuid.uuid4().hex[:8],
            storage_path=str(folder.path / "ray"),
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[watcher],
            verbose=0,
        ),
    )


def _counted(library: Any) -> str:
    counts = ray.get(library.counts.remote())
    said = f"{counts['read']} blocks read for {counts['asked']} asked, catalog opened {counts['catalogs']} time(s)"
    return said + (f", {counts['bad']} bad samples (see quarantine/)" if counts["bad"] else "")
