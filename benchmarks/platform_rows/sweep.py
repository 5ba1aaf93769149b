"""Eight short trials with ASHA on this machine: how much of the wall time is training, and when all is given back."""

import importlib.util
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import ray

from benchmarks.platform_rows.ray_overhead import rendered
from benchmarks.race import Row, bound_row
from eventsam.recipe import load_recipe
from eventsam.spec import replace
from ray_jobs.cluster import LOGICAL_CPUS, connected

log = logging.getLogger(__name__)

GOAL = 0.8
RELEASE_S = 15.0


def rows(quick: bool) -> Iterator[Row]:
    """Sweep learning rates of stage 0, a trial per core at a time."""
    if importlib.util.find_spec("ray_jobs.sweep") is None:
        log.info("skipped sweep: there is no ray_jobs.sweep")
        return
    from ray_jobs.sweep import record_of, run_sweep
    from ray_jobs.sweep_placement import Asked, place
    from ray_jobs.sweep_plan import SweepOptions, check_builds, make_plan
    from ray_jobs.sweep_store import SweepFolder
    from search_spaces import load_space

    options = SweepOptions(num_trials=3 if quick else 8, num_samples=160 if quick else 1600, num_validations=4)
    asked = Asked(concurrent=min(2, os.cpu_count() or 1), threads=1)
    with tempfile.TemporaryDirectory() as place_of, connected(num_cpus=max(LOGICAL_CPUS, asked.num_cpus(1))):
        recipe = replace(load_recipe("reconstruct"), "data.root", str(rendered(4 if quick else 24)))
        plan, _ = check_builds(make_plan("reconstruct", recipe, load_space("learning_rates"), options))
        placement, folder = place(asked, plan), SweepFolder(Path(place_of) / "sweep")
        with folder.held():
            folder.write_record(record_of(plan, asked))
            run_sweep(plan, folder, placement, None)
        released = _until_released()
        states, wall_s = folder.states(), folder.wall_s()
    log.info("sweep: %s", {name: (state.status, state.samples, state.train_s) for name, state in states.items()})
    scored = sum(state.score is not None for state in states.values())
    yield bound_row(f"{len(states)} trials: with a score", scored, len(states), "trials", at_least=True)
    training = sum(state.train_s for state in states.values()) / (wall_s * placement.concurrent)
    name = f"{len(states)} trials, ASHA, {placement.concurrent} at once: time inside training steps"
    yield Row(name, training, GOAL, 100 * training, 100.0, "%")
    yield bound_row("sweep: all resources back after the last trial", max(released, 0.01), RELEASE_S, "s")
    yield Row("sweep: wall time in all (steps of one place: peer)", training, None, wall_s, training * wall_s, "s")


def _until_released() -> float:
    """Seconds until the cluster has its CPUs back; infinite after four times the bound."""
    started = time.perf_counter()
    while time.perf_counter() - started < 4 * RELEASE_S:
        if ray.available_resources().get("CPU", 0.0) >= ray.cluster_resources()["CPU"]:
            return time.perf_counter() - started
        time.sleep(0.1)
    return float("inf")
