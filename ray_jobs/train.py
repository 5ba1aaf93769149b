"""The one Ray Train launch and its worker: a recipe to a trained checkpoint, restarted where it stopped."""

import dataclasses
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray.data
import ray.train
import torch
from numpy.typing import NDArray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig

from datasets_catalog import load_dataset
from eventsam.catalog import absolute, open_catalog
from eventsam.checkpoint import (
    CheckpointWriteError,
    Storage,
    check_catalog,
    open_storage,
    place,
    warn_of_other_code,
)
from eventsam.engine import NonFiniteLossError, evaluate, fit
from eventsam.faults.step_watch import StepWatch, Watching
from eventsam.faults.write_bundle import Scene
from eventsam.loading import Loader, make_loader
from eventsam.quarantine import Quarantine
from eventsam.recipe import Recipe, recipe_hash
from eventsam.spec import Spec, build, differences, from_json, replace, to_json
from eventsam.tasks.task import Batch, Task
from eventsam.tasks.trained import resolve
from ray_jobs import pipeline
from ray_jobs.audit import audited
from ray_jobs.cluster import Resources, check_resources
from ray_jobs.data_plane import check_plane, write_site
from ray_jobs.elastic import ElasticTorchTrainer, allowed_sizes
from ray_jobs.give_up import give_up, given_up
from ray_jobs.ray_run import RayRun
from ray_jobs.retry import Retries, persist
from ray_jobs.streams import SizedStream, StreamsBySize
from ray_jobs.termination import STOP_FILE, TERMINATED, SigtermInWorkers, ask_to_stop, listening


@dataclass(frozen=True)
class Keeping:
    """Where a run's checkpoints are kept, and what is accepted and written down when it goes on from them.

    `checkpoints` is a folder or an `s3://` URL for this run alone; None: where they were, else below the run's folder.
    `accept_new_catalog` goes on although the catalog's content changed since the checkpoint. `audit` writes down the
    sample ids of every batch that a worker takes (`ray_jobs.audit`).
    """

    checkpoints: str | None = None
    accept_new_catalog: bool = False
    audit: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a launch ended: finished, interrupted or preempted; `best` is the best checkpoint, else the last one."""

    status: str
    folder: Path
    step: int
    metrics: Mapping[str, float]
    checkpoint: Path
    best: Path
    catalog_hash: str


def prepare(recipe: Spec) -> tuple[Spec, Recipe, Loader, Loader]:
    """Build a recipe and open its data, failing here rather than on a worker.

    Returns the recipe with absolute paths, its built form, and the loaders of training and validation samples.

    Raises:
        ValueError, KeyError, FileNotFoundError: as the recipe's parts do.
    """
    if recipe.arguments["data"].arguments["root"] not in ("", "<required>"):
        recipe = replace(recipe, "data.root", str(absolute(recipe.arguments["data"].arguments["root"])))
    torch.manual_seed(recipe.arguments.get("seed", 0))
    built: Recipe = build(recipe)
    dataset = load_dataset(built.data.dataset)
    catalog = open_catalog(dataset, Path(built.data.root))
    loaders = [
        make_loader(dataset, catalog, built.data, built.task.reads, seed=built.seed, training=training)
        for training in (True, False)
    ]
    return recipe, built, loaders[0], loaders[1]


def launch(
    recipe: Spec,
    folder: Path,
    resources: Resources,
    *,
    max_failures: int = 3,
    keeping: Keeping | None = None,
    retries: Retries | None = None,
    watching: Watching | None = None,
) -> Outcome:
    """Train a recipe on the connected cluster; goes on from the run's newest whole checkpoint where there is one.

    Blocks until the end. A file named `stop` in `folder` makes the workers save a checkpoint and end.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
        CheckpointWriteError: checkpoints cannot be written, found before the first step or when the storage filled.
        ValueError: the recipe does not fit its data or the cluster, or `folder` holds another recipe's run.
    """
    recipe, built, training, validation = prepare(recipe)
    check_resources(resources)
    site = check_plane(resources.data, resources.min_workers, resources.cpus_per_worker)
    sizes = allowed_sizes(resources, built.budget)
    folder = absolute(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_site(folder, site, resources.min_workers * resources.cpus_per_worker)
    keeping = keeping or Keeping()
    location = place(folder / "checkpoints", keeping.checkpoints)
    storage = open_storage(location, folder / "checkpoints")
    storage.probe(0)
    _check_same_run(storage, folder, recipe, training.catalog.hash, keeping.accept_new_catalog)
    (folder / STOP_FILE).unlink(missing_ok=True)
    if TERMINATED.is_set():
        ask_to_stop(folder, "preempted")
    (folder / "recipe.json").write_text(json.dumps(to_json(recipe), indent=1))
    batch_size = built.budget.global_batch_size
    quarantine = Quarantine(folder, built.data.max_bad_share)
    training, validation = (dataclasses.replace(part, quarantine=quarantine) for part in (training, validation))
    streams = {
        "train": SizedStream(training, 0, built.budget.num_steps * batch_size, batch_size),
        "val": SizedStream(validation, 0, validation.order.num_samples, batch_size),
    }
    config = {
        "recipe": to_json(recipe), "folder": folder, "location": location, "streams": streams,
        "num_threads": resources.num_threads, "accept_new_catalog": keeping.accept_new_catalog, "audit": keeping.audit,
        # In local mode the process is the caller's own: it is not ours to end.
        "watching": dataclasses.replace(watching or Watching(), exits=bool(resources.num_workers)),
    }  # fmt: skip
    datasets = {"train": lambda: _rest_of_stream(streams["train"], storage), "val": lambda: streams["val"]}
    run = partial(_run, _train_worker, config, datasets, resources, folder, max_failures, sizes)
    returned = persist(run, folder, storage, retries or Retries())
    if "error" in returned:
        raise ERRORS[returned["kind"]](returned["error"])
    storage.mirror()
    return Outcome(
        returned["status"],
        folder,
        returned["step"],
        returned["metrics"],
        storage.folder(returned["checkpoint"]),
        resolve(folder),
        training.catalog.hash,
    )


ERRORS = {"nonfinite": NonFiniteLossError, "input": ValueError, "storage": CheckpointWriteError}
"""What a worker's error becomes where the launch was called."""


def below(location: str, name: str) -> str:
    """Return the place of a run's checkpoints below a folder or URL that many runs share; a URL's options stay."""
    address, question, options = location.partition("?")
    return f"{address.rstrip('/')}/{name}{question}{options}"


def launch_evaluation(
    task: Spec, loader: Loader, global_batch_size: int, folder: Path, resources: Resources
) -> dict[str, NDArray[np.float64]]:
    """Evaluate a task on a loader's samples on the connected cluster; return the merged metric states as arrays."""
    check_resources(resources)
    stream = SizedStream(loader, 0, loader.order.num_samples, global_batch_size)
    config = {"task": to_json(task), "folder": absolute(folder), "stream": stream, "num_threads": resources.num_threads}
    return _run(_evaluation_worker, config, {"eval": lambda: stream}, resources, absolute(folder), max_failures=1)


def _run(
    worker: Callable[[dict[str, Any]], Any],
    config: dict[str, Any],
    streams: Mapping[str, Callable[[], SizedStream]],
    resources: Resources,
    folder: Path,
    max_failures: int,
    sizes: tuple[int, ...] | None = None,
) -> Any:
    """Run a worker function; Ray Train asks for the streams, and cuts them, at every start of its workers."""
    elastic = isinstance(resources.num_workers, tuple)
    sizes = sizes or (resources.num_shares,)
    local = not resources.num_workers
    trainer = ElasticTorchTrainer(
        worker,
        sizes=sizes,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=(sizes[0], sizes[-1]) if elastic else resources.num_workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=None if local else _per_worker(resources),
            elastic_resize_monitor_interval_s=resources.resize_every_s,
            label_selector=None if local else resources.data.trainer_selector(),
        ),
        run_config=RunConfig(
            # Ray would resume a finished run of the same name by itself; positions are this project's own to keep.
            name=f"{folder.name}-{uuid.uuid4().hex[:8]}",
            storage_path=str(folder / "ray"),
            failure_config=FailureConfig(max_failures=max_failures, controller_failure_limit=20),
            callbacks=[SigtermInWorkers()],
        ),
        # In local mode Ray Train cuts nothing: there is one worker, and it is this process.
        datasets={name: _dataset_of_one(make) if local else make for name, make in streams.items()},
        dataset_config=StreamsBySize(resources.data.execution_options()),
        torch_config=TorchConfig(backend="nccl" if resources.gpus_per_worker else "gloo"),
    )
    return trainer.fit().return_value


def _dataset_of_one(make: Callable[[], SizedStream]) -> Callable[[], ray.data.Dataset]:
    return lambda: make().dataset(1)


def _per_worker(resources: Resources) -> dict[str, float]:
    gpus = {"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}
    return {"CPU": resources.cpus_per_worker} | gpus


def _train_worker(config: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(config["num_threads"])
    recipe_spec = from_json(config["recipe"])
    torch.manual_seed(recipe_spec.arguments.get("seed", 0))
    recipe: Recipe = build(recipe_spec)
    folder, streams = config["folder"], config["streams"]
    storage = open_storage(config["location"], folder / "checkpoints")
    run = RayRun(folder, storage=storage)
    training = streams["train"].loader
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


def _evaluation_worker(config: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    torch.set_num_threads(config["num_threads"])
    task: Task = build(from_json(config["task"]))
    run = RayRun(config["folder"])
    shard = ray.train.get_dataset_shard("eval")
    states = evaluate(task, pipeline.batches(shard, config["stream"].layout(run.world_size), run.rank), run)
    return {name: state.to_array() for name, state in states.items()}


def identify(loader: Loader, batch: Batch) -> list[str]:
    """Return the sample ids of a batch."""
    return [loader.catalog.row(int(index))["sample_id"] for index in batch["sample_index"]]


def _rest_of_stream(stream: SizedStream, storage: Storage) -> SizedStream:
    """Return the samples after the newest checkpoint."""
    newest = storage.newest()
    return dataclasses.replace(stream, start=storage.state(newest).position if newest else 0)


def _check_same_run(storage: Storage, folder: Path, recipe: Spec, catalog_hash: str, accept_new_catalog: bool) -> None:
    """Refuse to go on with another recipe's or catalog's run; warn where the code changed."""
    newest = storage.newest()
    if newest is None:
        return
    before = storage.state(newest)
    if recipe_hash(before.recipe) != recipe_hash(recipe):
        shown = "\n  ".join(differences(before.recipe, recipe)[:20])
        raise ValueError(f"{folder} holds the run of another recipe:\n  {shown}\nchoose another folder")
    check_catalog(before, storage.folder(newest), catalog_hash, accept_new_catalog)
    warn_of_other_code(before, storage.folder(newest))
