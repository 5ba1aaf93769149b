"""One run under seeded kills of workers and nodes beside a calm one: is anything lost, and what do the kills cost."""

import importlib.util
import logging
import math
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.race import Row, bound_row
from eventsam.recipe import load_recipe

log = logging.getLogger(__name__)

GOAL = 0.9
STEP_SECONDS = 0.2
RESTART_TIMES_PER_FAILURE = 10
LEAST_RESTART_S = 5.0
"""Workers have never been seen back earlier."""


def rows(quick: bool) -> Iterator[Row]:
    """Let the fault injector run: twenty kills, one every quarter of a minute, beside a calm run of the same steps."""
    if importlib.util.find_spec("ray_jobs.chaos") is None:
        log.info("skipped chaos: there is no ray_jobs.chaos")
        return
    from ray_jobs.chaos import Job, run_chaos, small_job
    from ray_jobs.chaos_plan import schedule

    kills, every_s = (2, 20.0) if quick else (20, 15.0)
    plan = schedule(every_s, kills, seed=0, node_share=0.25)
    # The clock of the kills runs on while workers start again: a run without these steps is still long enough.
    steps = math.ceil((sum(kill.after_s for kill in plan) - LEAST_RESTART_S * kills + every_s / 2) / STEP_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        recipe = small_job(load_recipe("reconstruct"), Path(folder), steps, checkpoint_every=10)
        report = run_chaos(Job(recipe, 2, 2, STEP_SECONDS), Path(folder) / "run", "chaos", plan)
    log.info("chaos: %s", report)
    done, lost = len(report["kills"]), report["calm_steps"] - report["steps"]
    yield bound_row(f"{done} kills: of those planned", done, kills, "kills", at_least=True)
    yield bound_row(f"{done} kills: steps that equal the calm run's", report["steps"], report["calm_steps"], "steps",
                    at_least=True)  # fmt: skip
    equal = float(report["ids_equal"]) + float(report["losses_equal"])
    yield bound_row(f"{done} kills: sample ids, losses equal the calm run's", equal, 2, "of 2", at_least=True)
    yield Row(f"{done} kills: goodput, one every {report['wall_s'] / max(1, done):.0f} s", report["goodput"], None,
              100 * report["goodput"], 100.0, "%")  # fmt: skip
    back = [kill["back_after_s"] for kill in report["kills"] if kill["back_after_s"] is not None]
    if not back or lost:
        return
    restart_s = statistics.mean(back)
    cost_s = (report["wall_s"] - report["calm_step_s"] * report["steps"]) / max(1, done)
    spaced = RESTART_TIMES_PER_FAILURE * restart_s
    goodput = spaced / (spaced + max(0.0, cost_s))
    name = f"computed: goodput at one failure per {RESTART_TIMES_PER_FAILURE} restarts of {restart_s:.0f} s"
    yield Row(name, goodput, GOAL, 100 * goodput, 100.0, "%")
