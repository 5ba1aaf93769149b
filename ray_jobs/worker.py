"""What runs in every Ray Train worker: the engine, watched, on this worker's share of the stream."""

import dataclasses
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import ray.train
import torch
from numpy.typing import NDArray

from eventsam.checkpoint import CheckpointWriteError, open_storage
from eventsam.engine import evaluate, fit
from eventsam.faults.step_watch import StepWatch
from eventsam.faults.write_bundle import Scene
from eventsam.loading import Loader
from eventsam.recipe import Recipe
from eventsam.spec import build, from_json
from eventsam.tasks.task import Batch, Task
from ray_jobs import pipeline
from ray_jobs.audit import audited
from ray_jobs.give_up import give_up, given_up
from ray_jobs.ray_run import RayRun
from ray_jobs.termination import listening

RECIPE_FILE = "recipe.json"
"""Written into a run's folder before its workers start."""


def train_worker(config: dict[str, Any]) -> dict[str, Any]:
    """Train as one worker of a launch; return how it ended, or why no restart would help."""
    torch.set_num_threads(config["num_threads"])
    recipe_spec = from_json(config["recipe"])
    torch.manual_seed(recipe_spec.arguments.get("seed", 0))
    recipe: Recipe = build(recipe_spec)
    folder, streams = config["folder"], config["streams"]
    storage = open_storage(config["location"], folder / "checkpoints")
    run = RayRun(folder, storage=storage)
    training = streams["train"].loader
    if (unshared := _unshared(run)) is not None:
        return unshared
    if (told := given_up(folder)) is not None:
        return told
    scene = Scene(folder, recipe_spec, training.catalog.hash, run.rank, run.world_size, storage)
    watch = StepWatch(scene, config["watching"], partial(identify, training), recipe.task)

    def batches(name: str, position: int) -> Iterable[Mapping[str, Any]]:
        layout = dataclasses.replace(streams[name], start=position).layout(run.world_size)
        return pipeline.batches(ray.train.get_dataset_shard(name), layout, run.rank)

    def training_batches(position: int) -> Iterable[Mapping[str, Any]]:
        taken = batches("train", position)
        names = partial(identify, training)
        taken = audited(taken, folder, run.rank, run.world_size, names) if config["audit"] else taken
        return watch.steps(position // recipe.budget.global_batch_size, taken)

    try:
        with listening(), watch:
            summary = fit(
                recipe.task,
                training_batches,
                optimizer=recipe.optimizer,
                budget=recipe.budget,
                run=run,
                folder=folder / "checkpoints",
                recipe=recipe_spec,
                catalog_hash=training.catalog.hash,
                validation=lambda: watch.beats(batches("val", 0)),
                monitor=recipe.monitor,
                identify=partial(identify, training),
                storage=storage,
                write_behind=True,
                accept_new_catalog=config["accept_new_catalog"],
            )
    except (ValueError, KeyError, CheckpointWriteError) as error:
        return give_up(error, folder, run.world_size)
    last = summary.checkpoint.name if summary.checkpoint else ""
    return {"status": summary.status, "step": summary.step, "metrics": dict(summary.metrics), "checkpoint": last}


def _unshared(run: RayRun) -> dict[str, str] | None:
    """Return all workers' answer where some of them do not see the run's folder: they would begin anew after a kill."""
    seen = run.gather(np.array([float((run.folder / RECIPE_FILE).exists())]))
    blind = [str(rank) for rank, value in enumerate(seen) if not value[0]]
    if not blind:
        return None
    return {
        "kind": "input",
        "error": f"the run's folder {run.folder} is not on the machines of workers {', '.join(blind)}: give --runs a "
        "folder that all nodes share",
    }


def evaluation_worker(config: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Evaluate as one worker; return the metric states over all of them, as arrays."""
    torch.set_num_threads(config["num_threads"])
    task: Task = build(from_json(config["task"]))
    run = RayRun(config["folder"])
    shard = ray.train.get_dataset_shard("eval")
    states = evaluate(task, pipeline.batches(shard, config["stream"].layout(run.world_size), run.rank), run)
    return {name: state.to_array() for name, state in states.items()}


def identify(loader: Loader, batch: Batch) -> list[str]:
    """Return the sample ids of a batch."""
    return [loader.catalog.row(int(index))["sample_id"] for index in batch["sample_index"]]
