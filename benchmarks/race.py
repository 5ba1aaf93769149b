"""Fair timing: all candidates in one process, their order rotated every round, medians, ratios."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of a benchmark's table: `ratio` = our speed over the peer's, to be at least `goal` (None: no goal).

    `ours` and `peer` are in `unit`.
    """

    name: str
    ratio: float
    goal: float | None
    ours: float
    peer: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.goal is None or self.ratio >= self.goal


def race(candidates: Mapping[str, Callable[[], object]], rounds: int = 7, repeats: int = 1) -> dict[str, float]:
    """Return each candidate's median seconds per call over `rounds` timings of `repeats` calls, after one unmeasured.

    The garbage collector rests meanwhile. The order starts one candidate further in every round, so that none always
    runs into another's warm or dirty cache.
    """
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        candidates[name]()
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                run = candidates[name]
                started = time.perf_counter()
                for _ in range(repeats):
                    run()
                seconds[name].append((time.perf_counter() - started) / repeats)
    finally:
        gc.enable()
    return {name: statistics.median(values) for name, values in seconds.items()}


def speed_row(name: str, ours: float, peer: float, goal: float | None, num_events: int, unit: str = "Mev/s") -> Row:
    """Return the row of two times in seconds for the same number of events (or frames, slices: `unit` says which)."""
    scale = 1e-6 if unit.startswith("M") else 1.0
    return Row(name, peer / ours, goal, num_events / ours * scale, num_events / peer * scale, unit)


def bound_row(name: str, value: float, bound: float, unit: str, *, at_least: bool = False) -> Row:
    """Return the row of a figure that has to stay below a bound (or, `at_least`, to reach it); `peer` is the bound."""
    return Row(name, value / bound if at_least else bound / value, 1.0, value, bound, unit)
