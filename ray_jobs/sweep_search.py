"""A search that learns from results, wrapped so that points have names, are written down, and are never run twice."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from ray_jobs.sweep_plan import Plan
from ray_jobs.sweep_store import ENDED, FAILED, SweepFolder, TrialState
from ray_jobs.sweep_trial import CAUSE, SCORE, plain
from search_spaces import Drawn

log = logging.getLogger(__name__)

MAX_REPEATS = 20


class NamedPoints(Searcher):
    """Hands out points that a killed driver left unfinished, then those that the inner search suggests.

    A suggestion that means the same recipe as an earlier point is answered with that point's score, where it has one,
    and another one is asked for.
    """

    def __init__(
        self, plan: Plan, folder: SweepFolder, inner: Searcher, unfinished: Sequence[str], num_new: int
    ) -> None:
        super().__init__(metric=SCORE, mode=plan.space.mode)
        self.plan, self.folder, self.inner = plan, folder, inner
        self.unfinished, self.num_new = list(unfinished), num_new
        self.known = {plan.point(trial.read_point()).hash: trial.name for trial in folder.trials}
        self.ids: dict[str, str] = {}
        """Trial id to the id by which the inner search knows it."""
        _retell(inner, folder.states())

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Everything was stated at the start."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next point, None for "later", or FINISHED."""
        if self.unfinished:
            name = self.unfinished.pop(0)
            return {"point": name, "values": dict(self.folder.trial(name).read_state().values)}
        if self.num_new <= 0:
            return Searcher.FINISHED
        for repeat in range(MAX_REPEATS):
            inner_id = f"{trial_id}-{repeat}" if repeat else trial_id
            suggested = self.inner.suggest(inner_id)
            if not isinstance(suggested, dict):
                return suggested
            values = {key: plain(value) for key, value in suggested.items()}
            name = self._new_name(values)
            if name is not None:
                self.ids[trial_id] = inner_id
                self.num_new -= 1
                return {"point": name, "values": values}
            self._answer_again(inner_id, values)
        log.warning("the search suggested known points %d times in a row: it ends here", MAX_REPEATS)
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the inner search what a trial reports on its way."""
        if trial_id in self.ids and not result.get(CAUSE):
            self.inner.on_trial_result(self.ids[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the inner search how a trial ended."""
        if trial_id in self.ids:
            failed = error or bool(result and result.get(CAUSE))
            self.inner.on_trial_complete(self.ids.pop(trial_id), result=None if failed else result, error=failed)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Let the inner search count its trials where it can."""
        return bool(self.inner.set_max_concurrency(max_concurrent))

    def on_pause(self, trial_id: str) -> None:
        """Pass on what HyperBand for BOHB says."""
        if trial_id in self.ids:
            self.inner.on_pause(self.ids[trial_id])

    def on_unpause(self, trial_id: str) -> None:
        """Pass on what HyperBand for BOHB says."""
        if trial_id in self.ids:
            self.inner.on_unpause(self.ids[trial_id])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the folder holds what a resumed sweep needs."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the folder holds what a resumed sweep needs."""

    def _new_name(self, values: Mapping[str, Drawn]) -> str | None:
        point = self.plan.point(values)
        if point.hash in self.known:
            return None
        name = f"p{len(self.known):03d}"
        self.folder.trial(name).write_point(values)
        self.known[point.hash] = name
        return name

    def _answer_again(self, inner_id: str, values: Mapping[str, Drawn]) -> None:
        state = self.folder.states()[self.known[self.plan.point(values).hash]]
        if state.score is None or not math.isfinite(state.score):
            self.inner.on_trial_complete(inner_id, error=True)
        else:
            self.inner.on_trial_complete(inner_id, result={SCORE: state.score})


def _retell(inner: Searcher, states: Mapping[str, TrialState]) -> None:
    """Tell a fresh search what the trials of a resumed sweep reached."""
    for name, state in states.items():
        if state.status in ENDED and state.score is not None and math.isfinite(state.score):
            try:
                inner.add_evaluated_point(dict(state.values), state.score, error=state.status == FAILED)
            except NotImplementedError:
                log.warning("this search cannot be told earlier results: it starts afresh behind %s", name)
                return
