"""What a sweep's report is made of: its parameters, its trials, what they cost, and which recipe won."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Drawn = str | int | float
Curve = Sequence[tuple[float, float]]
"""(samples, score) in the order of training."""


@dataclass(frozen=True)
class Axis:
    """One parameter: `labels` of a choice in their order, or the bounds of a range."""

    name: str
    labels: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    def place(self, value: Drawn) -> float:
        """Return where a value lies on the axis, 0 to 1."""
        if self.labels:
            return (self.labels.index(str(value)) + 0.5) / len(self.labels)
        low, high, at = (math.log(number) if self.log else number for number in (self.low, self.high, float(value)))
        return min(1.0, max(0.0, (at - low) / (high - low)))


@dataclass(frozen=True)
class TrialRow:
    """One trial. `values` lack the parameters that do not matter at its point.

    `score` is the newest one, the mean over seeds, with its interval where there are several; seconds are wall clock:
    all of the trial's, those inside training steps, and those waiting for data.
    """

    name: str
    values: Mapping[str, Drawn]
    status: Literal["finished", "stopped", "failed", "running", "waiting"]
    samples: int
    score: float | None
    low: float | None = None
    high: float | None = None
    curve: Curve = ()
    cause: str = ""
    seconds: float = 0.0
    train_s: float = 0.0
    data_wait_s: float = 0.0
    starts: int = 1
    clones: Sequence[str] = ()

    @property
    def scored(self) -> bool:
        """Say whether the trial has a score to compare."""
        return self.status != "failed" and self.score is not None and math.isfinite(self.score)


@dataclass(frozen=True)
class SweepReport:
    """Everything that the report of a sweep shows.

    `budget` is a whole trial's samples; `gpus` and `cpus` are what one trial holds, for its cost; `command` trains the
    winning recipe.
    """

    title: str
    subtitle: str
    metric: str
    mode: Literal["max", "min"]
    axes: Sequence[Axis]
    trials: Sequence[TrialRow]
    budget: int
    num_seeds: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    command: str = ""
    rungs: Sequence[float] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)

    def better(self, first: float, second: float) -> bool:
        """Say whether the first score is the better one."""
        return first > second if self.mode == "max" else first < second

    @property
    def ranked(self) -> list[TrialRow]:
        """Return the trials with a score, the best first: those that saw most samples come before the others.

        A trial that was stopped early cannot win by a number that others were still to improve on.
        """
        sign = -1.0 if self.mode == "max" else 1.0
        scored = [trial for trial in self.trials if trial.scored]
        return sorted(scored, key=lambda trial: (-trial.samples, sign * (trial.score or 0.0), trial.name))

    @property
    def winner(self) -> TrialRow | None:
        """Return the best of the trials that saw most samples."""
        return next(iter(self.ranked), None)

    @property
    def failed(self) -> list[TrialRow]:
        """Return the trials that failed."""
        return [trial for trial in self.trials if trial.status == "failed"]
