"""One trial of a sweep as Ray Tune runs it: a point trained with one or more seeds, from validation to validation."""

import dataclasses
import json
import logging
import math
import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError, RayTaskError
from scipy.special import stdtrit

from eventsam import checkpoint
from eventsam.checkpoint import CheckpointWriteError
from eventsam.metrics_log import MetricsLog
from eventsam.spec import Spec, from_json, get, replace
from eventsam.unknown_name import unknown_name
from ray_jobs.cluster import Resources
from ray_jobs.sweep_fits import Fitting, InTrialFit, TrainerFit, Validation, adopt, keep
from ray_jobs.sweep_plan import SweepOptions, budgeted, samples_of
from ray_jobs.sweep_store import FAILED, FINISHED, RUNNING, TrialFolder
from ray_jobs.sweep_targets import Answers, KeptParts
from search_spaces import Drawn, Space

log = logging.getLogger(__name__)

TIME, ROUND, SCORE, CAUSE = "samples_seen", "rounds_seen", "score", "cause"
"""What the scheduler hears of: a counter that only grows, the same in units of the interval between validations (for
HyperBand, whose brackets follow from that number), the score, and why a trial failed (else empty)."""
POINTER = "pointer.json"
NOT_MEANT = ("step", "samples", "time")


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a sweep share; `names` are the trials in the order in which Ray Tune numbers them."""

    recipe: Mapping[str, Any]
    space: Space
    options: SweepOptions
    folder: Path
    names: tuple[str, ...]
    library: Any
    resources: Resources
    round_samples: int
    answer_bytes: int = 2 * 2**30


class SweepTrial(tune.Trainable):
    """Trains one point; the process is used again for the next one."""

    def setup(self, config: dict[str, Any], settings: TrialSettings | None = None) -> None:
        """Make ready what all trials of this process share."""
        assert settings is not None
        self.settings = settings
        self.parts = KeptParts()
        self.answers = Answers(settings.folder / "shared" / "answers", settings.answer_bytes)
        self.fits: list[Fitting] = []
        self.unheard: list[deque[Validation]] = []
        self.pointer: dict[str, Any] | None = None
        self.holding = ExitStack()
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Leave the trial before and take another one."""
        self._leave()
        self._take(new_config)
        return True

    def cleanup(self) -> None:
        """End with everything given back."""
        self._leave()

    def step(self) -> dict[str, Any]:
        """Train all seeds to their next validation and report the mean of what they say."""
        started = time.monotonic()
        try:
            if not self.fits:
                self._open()
            said = self._advance()
        except Exception as error:
            if isinstance(error, RayError) and not isinstance(error, RayTaskError):
                raise  # a node or the sample library is away: Ray Tune starts this trial again
            if isinstance(error, CheckpointWriteError):
                return {**self._result(done=True), CAUSE: str(error)}  # no room: it has not ended, and can be resumed
            return self._fail(error)  # the sweep goes on without this trial
        return self._report(said, time.monotonic() - started)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write down where the weights lie; they stay there, kept from being cleaned away."""
        paths = []
        for fitting in self.fits:
            newest = checkpoint.latest(fitting.folder / "checkpoints")
            if newest is not None:
                paths.append(str(keep(newest, fitting.folder / "kept")))
        record = {"trial": self.place.name, "paths": paths, "samples": self.state.samples}
        (Path(checkpoint_dir) / POINTER).write_text(json.dumps(record))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Remember where to go on from; this trial's own weights, or those of the trial that it clones."""
        self.pointer = json.loads((Path(checkpoint_dir) / POINTER).read_text())

    def _take(self, config: Mapping[str, Any]) -> None:
        self.values: dict[str, Drawn] = {key: plain(value) for key, value in config["values"].items()}
        # Ray Tune numbers the trials of a list in its order; a search that makes them up names them itself.
        name = config["point"] if "point" in config else self.settings.names[int(self.trial_id.rsplit("_", 1)[-1])]
        self.place = TrialFolder(self.settings.folder / "trials" / name)
        self.state = self.place.read_state()
        self.pointer = None

    def _leave(self) -> None:
        for fitting in self.fits:
            fitting.close()
        self.fits, self.unheard = [], []
        self.holding.close()

    def _open(self) -> None:
        settings = self.settings
        self.holding.enter_context(self.place.held())
        self.state = self.place.read_state()
        self.rested_s = self.state.rest_s
        generation, history, samples = self.state.generation, self.state.history, self.state.samples
        cloned = self.pointer if self.pointer and self.pointer["trial"] != self.place.name else None
        if cloned is not None:
            happened = {"from": cloned["trial"], "samples": cloned["samples"], "values": self.values}
            # The same pointer again means that this trial's process died since: what it cloned is in place.
            if happened not in history:
                generation, history, samples = generation + 1, (*history, happened), cloned["samples"]
        recipe = budgeted(settings.space.apply(from_json(settings.recipe), self.values), settings.options)
        self.batch_size = int(get(recipe, "budget.global_batch_size"))
        first_seed = int(get(recipe, "seed"))
        for number in range(settings.options.num_seeds):
            folder = self.place.fit_folder(first_seed + number, generation)
            seeded: Spec = replace(recipe, "seed", first_seed + number)
            if cloned is not None and checkpoint.latest(folder / "checkpoints") is None:
                adopt(Path(cloned["paths"][number]), folder, seeded)
            self.fits.append(self._fitting(seeded, folder))
            self.unheard.append(deque(recorded_validations(folder, samples // self.batch_size, recipe)))
        self.state = dataclasses.replace(
            self.state, status=RUNNING, values=self.values, generation=generation, history=history, samples=samples,
            starts=self.state.starts + 1,
        )  # fmt: skip
        self.place.write_state(self.state)

    def _fitting(self, recipe: Spec, folder: Path) -> Fitting:
        folder.mkdir(parents=True, exist_ok=True)
        settings = self.settings
        if settings.resources.num_workers:
            return TrainerFit(recipe, folder, settings.resources)
        return InTrialFit(recipe, folder, settings.library, self.parts, self.answers, settings.resources)

    def _advance(self) -> list[Validation]:
        """Return the next validation of every seed, all of the same step; nothing where they had reached their end."""
        metric, said = self.settings.space.metric, []
        for fitting, unheard in zip(self.fits, self.unheard, strict=True):
            validation = unheard.popleft() if unheard else fitting.advance()
            if validation is None:
                continue
            if metric not in validation.metrics:
                raise KeyError(unknown_name("metric", metric, validation.metrics))
            said.append(validation)
        return said

    def _report(self, said: Sequence[Validation], seconds: float) -> dict[str, Any]:
        if not said:  # it had reached its end before this process took it up
            self._write(status=FINISHED, seconds=self.state.seconds + seconds)
            return self._result(done=True)
        scores = [validation.metrics[self.settings.space.metric] for validation in said]
        score, low, high = interval(scores)
        samples = said[0].step * self.batch_size
        record = {"step": float(said[0].step), "samples": float(samples), "score": score}
        record |= {} if low is None or high is None else {"score_low": low, "score_high": high}
        record |= {f"val/{name}": statistics.fmean(v.metrics[name] for v in said) for name in said[0].metrics}
        record |= self._losses()
        self.place.log.append(record)
        finished = all(validation.finished for validation in said)
        self._write(
            status=FINISHED if finished else RUNNING, samples=samples, score=score, low=low, high=high,
            seconds=self.state.seconds + seconds, **self._times(),
        )  # fmt: skip
        return self._result(done=finished)

    def _fail(self, error: Exception) -> dict[str, Any]:
        cause = getattr(error, "cause", None) or error
        text = str(cause.args[0] if isinstance(cause, KeyError) and cause.args else cause)
        log.warning("%s failed: %s", self.place.name, text)
        self._write(status=FAILED, cause=f"{type(cause).__name__}: {text}")
        return {**self._result(done=True), SCORE: math.nan, CAUSE: text}

    def _write(self, **changes: Any) -> None:
        self.state = dataclasses.replace(self.state, **changes)
        self.place.write_state(self.state)

    def _result(self, done: bool) -> dict[str, Any]:
        score = math.nan if self.state.score is None else self.state.score
        rounds = self.state.samples / self.settings.round_samples
        return {TIME: self.state.samples, ROUND: rounds, SCORE: score, CAUSE: "", "done": done}

    def _losses(self) -> dict[str, float]:
        """Return what the newest training records say, as means over seeds."""
        newest = [_newest_training(MetricsLog(fitting.folder / "metrics.jsonl")) for fitting in self.fits]
        names = [name for name in newest[0] if all(name in record for record in newest) and name not in NOT_MEANT]
        return {name: statistics.fmean(record[name] for record in newest) for name in names}

    def _times(self) -> dict[str, float]:
        """Return the seconds that all seeds of all generations spent in steps and waiting for data."""
        train = wait = 0.0
        # A clone starts where the trial was that it took its weights from: the steps before were that one's.
        starts = [0.0, *(happened["samples"] / self.batch_size for happened in self.state.history)]
        for folder, generation in self.place.fit_folders():
            last = starts[generation]
            for record in MetricsLog(folder / "metrics.jsonl").read():
                if "step_s" in record:
                    train += record["step_s"] * max(0.0, record["step"] - last)
                    wait += record["data_wait_s"] * max(0.0, record["step"] - last)
                    last = record["step"]
        rest = self.rested_s + sum(fitting.rested_s for fitting in self.fits)
        return {"train_s": train, "data_wait_s": max(0.0, wait - rest), "rest_s": rest}


def recorded_validations(folder: Path, after: int, recipe: Spec) -> list[Validation]:
    """Return the validations in a run's log behind step `after`, as far as its newest checkpoint: nobody heard of them.

    A process that dies between a validation and its report leaves such; so does a seed that was ahead of the others.
    """
    newest = checkpoint.latest(folder / "checkpoints")
    reached = checkpoint.read_state(newest).step if newest is not None else 0
    last = samples_of(recipe)[0] // int(get(recipe, "budget.global_batch_size"))
    found = []
    for record in MetricsLog(folder / "metrics.jsonl").read():
        metrics = {name.removeprefix("val/"): value for name, value in record.items() if name.startswith("val/")}
        if metrics and after < record["step"] <= reached:
            found.append(Validation(int(record["step"]), metrics, record["step"] == last))
    return found


def interval(scores: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the mean of a point's seeds and its 95 % interval (Student's t); no interval of a single seed."""
    mean = statistics.fmean(scores)
    if len(scores) < 2:
        return mean, None, None
    half = stdtrit(len(scores) - 1, 0.975) * statistics.stdev(scores) / math.sqrt(len(scores))
    return mean, mean - float(half), mean + float(half)


def _newest_training(metrics: MetricsLog) -> dict[str, float]:
    return next((record for record in reversed(metrics.read()) if "loss" in record), {})


def plain(value: Any) -> Drawn:
    """Return a search library's scalar (numpy's, often) as Python's own."""
    own = value.item() if hasattr(value, "item") else value
    return str(own) if isinstance(own, str) else own
