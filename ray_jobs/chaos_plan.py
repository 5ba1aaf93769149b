"""What a chaos run does and what came of it: a seeded schedule of kills, and the comparison with the calm run."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eventsam.metrics_log import records_from
from ray_jobs.audit import FILE as AUDIT_FILE
from ray_jobs.audit import consumed

Victim = Literal["worker", "node"]


@dataclass(frozen=True)
class Kill:
    """One kill: so long after the one before it (or after the first step), of which kind, and which of those there are.

    `pick` in [0, 1) chooses among the victims, whatever their number is by then.
    """

    after_s: float
    victim: Victim
    pick: float


@dataclass(frozen=True)
class Done:
    """A kill that was carried out: when, at which step, and how long until a step was logged again (None: none was)."""

    kill: Kill
    at_s: float
    step: int
    name: str
    back_after_s: float | None


def schedule(kill_every_s: float, num_kills: int, seed: int, node_share: float) -> tuple[Kill, ...]:
    """Return the kills of a seed: half to one and a half times `kill_every_s` apart, `node_share` of them of nodes.

    Raises:
        ValueError: a number is out of its range.
    """
    if kill_every_s <= 0 or num_kills < 0 or not 0 <= node_share <= 1:
        raise ValueError(
            f"kill-every {kill_every_s} s (allowed: above 0), kills {num_kills} (0 or more), node-share {node_share} "
            "(0 to 1)"
        )
    generator = np.random.default_rng(seed)
    draws = generator.random((num_kills, 3)).tolist()
    return tuple(
        Kill(kill_every_s * (0.5 + wait), "node" if kind < node_share else "worker", pick) for wait, kind, pick in draws
    )


@dataclass(frozen=True)
class Steps:
    """The steps that a run's log holds: each one's last loss, when each line was written, and how many were redone."""

    losses: Mapping[int, float]
    seconds: Mapping[int, float]
    times: Sequence[float]
    num_redone: int
    num_restarts: int

    @property
    def span_s(self) -> float:
        """From the start of the first step to the end of the last."""
        first = self.seconds[min(self.seconds)]
        return max(self.times) - min(self.times) + first


def steps_of(run: Path) -> Steps:
    """Read a run's log; a step that is logged again was redone, and a number that falls is a restart."""
    losses, seconds, times, redone, restarts, last = {}, {}, [], 0, 0, -1
    for _, record in records_from(run / "metrics.jsonl", 0):
        if "loss" not in record:
            continue
        step = int(record["step"])
        redone += step in losses
        restarts += step <= last
        losses[step], seconds[step], last = record["loss"], record["step_s"] + record["data_wait_s"], step
        times.append(record["time"])
    return Steps(losses, seconds, times, redone, restarts)


def compare(calm: Path, chaos: Path, global_batch_size: int, done: Sequence[Done], launch_s: float) -> dict[str, Any]:
    """Return the figures of a chaos run beside its calm run.

    `goodput` is the useful step seconds (every step once, as long as the calm run's median step) over the wall time
    from the first step to the last; `goodput_with_start` counts the time of the launch, too.
    """
    still, shaken = steps_of(calm), steps_of(chaos)
    # The first steps of a run wait for the first blocks, which is not what a step costs.
    step_s = statistics.median(still.seconds.values())
    useful = step_s * len(shaken.losses)
    gaps = {step: abs(shaken.losses.get(step, np.inf) - loss) for step, loss in still.losses.items()}
    different = [step for step, gap in gaps.items() if gap != 0]
    ids, problem = _ids_equal(calm, chaos, global_batch_size)
    return {
        "steps": len(shaken.losses),
        "calm_steps": len(still.losses),
        "kills": [
            {"at_s": round(each.at_s, 2), "victim": each.kill.victim, "name": each.name, "step": each.step,
             "back_after_s": None if each.back_after_s is None else round(each.back_after_s, 2)}
            for each in done
        ],
        "restarts": shaken.num_restarts,
        "redone_steps": shaken.num_redone,
        "calm_step_s": step_s,
        "calm_wall_s": still.span_s,
        "wall_s": shaken.span_s,
        "launch_wall_s": launch_s,
        "goodput": useful / shaken.span_s,
        "goodput_with_start": useful / launch_s,
        "losses_equal": not different and still.losses.keys() == shaken.losses.keys(),
        "first_different_step": different[0] if different else None,
        "largest_difference": max(gaps.values(), default=0.0),
        "ids_equal": ids,
        "ids_problem": problem,
    }  # fmt: skip


def _ids_equal(calm: Path, chaos: Path, global_batch_size: int) -> tuple[bool, str | None]:
    try:
        first, second = (consumed(run, global_batch_size) for run in (calm, chaos))
    except (OSError, ValueError) as error:
        return False, f"{AUDIT_FILE}: {error}"
    for number in sorted(first.keys() | second.keys()):
        if first.get(number) != second.get(number):
            return False, f"global batch {number} differs"
    return True, None


def with_returns(done: Sequence[Done], run: Path) -> list[Done]:
    """Fill in how long after each kill a step was logged again, from the run's log; `at_s` are seconds of the clock."""
    times = steps_of(run).times
    filled = []
    for index, each in enumerate(done):
        until = done[index + 1].at_s if index + 1 < len(done) else np.inf
        # A line that was on its way when the worker died is not its return.
        back = next((time for time in times if each.at_s + 0.5 < time < until), None)
        gap = None if back is None else back - each.at_s
        filled.append(Done(each.kill, each.at_s, each.step, each.name, gap))
    return filled
