"""Small parts of sweeps that several tests build on."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import torch
from tests_support import small_recipe

from eventsam import checkpoint
from eventsam.recipe import load_recipe
from eventsam.spec import Spec, build, replace
from search_spaces import Choice, Space

RATES = Choice((1e-3, 2e-3, 4e-3, 8e-3))


def small_space(
    parameters: Mapping[str, Any] | None = None, metric: str = "viou", recipe: str = "reconstruct"
) -> Space:
    """Return a space of four learning rates, or of the given parameters."""
    return Space("learning_rates", parameters or {"optimizer.learning_rate": RATES}, metric, "max", recipe)


def untrained_run(name: str, root: Path, folder: Path, **changes: object) -> Path:
    """Write the checkpoint that a run of no steps would leave: stages that build on it need no training before."""
    recipe = small_recipe(name, root, **changes)
    torch.manual_seed(0)
    task = build(recipe.arguments["task"])
    state = checkpoint.State(step=0, position=0, best=None, recipe=recipe, catalog_hash="", metrics={})
    checkpoint.save(folder / "checkpoints", task, None, state)
    return folder


def small_fuse(root: Path, folder: Path, **changes: object) -> Spec:
    """Return a small `fuse` recipe on untrained stages."""
    teacher = untrained_run("reconstruct", root, folder / "teacher")
    student = untrained_run("distill", root, folder / "student", **{"task.teacher.checkpoint": str(teacher)})
    stages = {"task.reconstructor.checkpoint": str(teacher), "task.event_embedder.checkpoint": str(student)}
    return small_recipe("fuse", root, **stages, **changes)


def with_changes(name: str, changes: Mapping[str, Any]) -> Spec:
    """Return a named recipe with changes by path."""
    recipe = load_recipe(name)
    for path, value in changes.items():
        recipe = replace(recipe, path, value)
    return recipe


def wait_for_release(limit_s: float = 15.0) -> float:
    """Return after how many seconds all resources of the cluster are free."""
    started = time.monotonic()
    while time.monotonic() - started < limit_s:
        free, all_of_it = ray.available_resources(), ray.cluster_resources()
        if all(free.get(kind, 0.0) >= all_of_it[kind] for kind in ("CPU",)):
            return time.monotonic() - started
        time.sleep(0.05)
    raise AssertionError(f"not given back: {ray.cluster_resources()} but free are {ray.available_resources()}")
