"""The one Ray Train launch: a recipe to a trained checkpoint, restarted where it stopped."""

import dataclasses
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

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
from eventsam.engine import NonFiniteLossError
from eventsam.faults.step_watch import Watching
from eventsam.loading import Loader, make_loader
from eventsam.quarantine import Quarantine
from eventsam.recipe import Recipe, recipe_hash
from eventsam.spec import REQUIRED, Spec, build, differences, replace, to_json
from eventsam.tasks.trained import resolve
from ray_jobs.cluster import Resources, check_resources
from ray_jobs.data_plane import check_plane, write_site
from ray_jobs.elastic import ElasticTorchTrainer, allowed_sizes
from ray_jobs.retry import Retries, persist
from ray_jobs.streams import SizedStream, StreamsBySize, rest_of
from ray_jobs.termination import STOP_FILE, TERMINATED, SigtermInWorkers, ask_to_stop
from ray_jobs.worker import RECIPE_FILE, evaluation_worker, train_worker


@dataclass(frozen=True)
class Keeping:
    """Where a run's checkpoints are kept, and what is accepted and written down when it goes on from them.

    `checkpoints` is a folder or an `s3://` URL for this run alone; None: where they were, else below the run's folder.
    `accept_new_catalog` goes on although the catalog's content changed since the checkpoint. `audit` writes down the
    sample ids of every batch that a worker takes (`ray_jobs.audit`). `expected` says which checkpoints are to be there
    already: "any" or none; "none", so that no run of the same name is mixed with; "some" to go on from.
    """

    checkpoints: str | None = None
    accept_new_catalog: bool = False
    audit: bool = False
    expected: Literal["any", "none", "some"] = "any"


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
    if recipe.arguments["data"].arguments["root"] not in ("", REQUIRED):
        recipe = replace(recipe, "data.root", str(absolute(recipe.arguments["data"].arguments["root"])))
    if (name := recipe.arguments["data"].arguments["dataset"]) != REQUIRED:
        load_dataset(name)  # one that is not there is told before a large model is built
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
    keeping: Keeping | None = None,
    retries: Retries | None = None,
    watching: Watching | None = None,
) -> Outcome:
    """Train a recipe on the connected cluster; goes on from the run's newest whole checkpoint where there is one.

    Blocks until the end. A file named `stop` in `folder`, put there after the start, makes the workers save a
    checkpoint and end.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
        CheckpointWriteError: checkpoints cannot be written, found before the first step or when the storage filled.
        ValueError: the recipe does not fit its data or the cluster, or `folder` holds another recipe's run.
    """
    folder = absolute(folder)
    # First of all: what is asked from now on is meant for this launch.
    (folder / STOP_FILE).unlink(missing_ok=True)
    recipe, built, training, validation = prepare(recipe)
    check_resources(resources)
    site = check_plane(resources.data, resources.min_workers, resources.cpus_per_worker)
    sizes = allowed_sizes(resources, built.budget)
    folder.mkdir(parents=True, exist_ok=True)
    write_site(folder, site, resources.min_workers * resources.cpus_per_worker)
    keeping, retries = keeping or Keeping(), retries or Retries()
    location = place(folder / "checkpoints", keeping.checkpoints)
    storage = open_storage(location, folder / "checkpoints")
    _check_storage(storage, folder, recipe, training.catalog.hash, keeping)
    if TERMINATED.is_set():
        ask_to_stop(folder, "preempted")
    (folder / RECIPE_FILE).write_text(json.dumps(to_json(recipe), indent=1))
    streams = _streams(folder, built, training, validation)
    config = {
        "recipe": to_json(recipe), "folder": folder, "location": location, "streams": streams,
        "num_threads": resources.num_threads, "accept_new_catalog": keeping.accept_new_catalog, "audit": keeping.audit,
        # In local mode the process is the caller's own: it is not ours to end.
        "watching": dataclasses.replace(watching or Watching(), exits=bool(resources.num_workers)),
    }  # fmt: skip
    datasets = {"train": partial(rest_of, streams["train"], storage), "val": lambda: streams["val"]}
    run = partial(_run, train_worker, config, datasets, resources, folder, retries.restarts, sizes)
    returned = persist(run, folder, storage, retries)
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
    return _run(evaluation_worker, config, {"eval": lambda: stream}, resources, absolute(folder), max_failures=1)


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


def _streams(folder: Path, recipe: Recipe, training: Loader, validation: Loader) -> dict[str, SizedStream]:
    """Return the run's whole streams, whose bad samples are written down in its folder."""
    quarantine, size = Quarantine(folder, recipe.data.max_bad_share), recipe.budget.global_batch_size
    training, validation = (dataclasses.replace(part, quarantine=quarantine) for part in (training, validation))
    return {
        "train": SizedStream(training, 0, recipe.budget.num_steps * size, size),
        "val": SizedStream(validation, 0, validation.order.num_samples, size),
    }


def _check_storage(storage: Storage, folder: Path, recipe: Spec, catalog_hash: str, keeping: Keeping) -> None:
    """Refuse a storage that cannot be written, and to go on with what is not this very run; warn of other code."""
    storage.probe(0)
    names = storage.names() if keeping.expected != "any" else []
    if names and keeping.expected == "none":
        raise ValueError(
            f"{storage.location} holds the checkpoints of a run already, up to {names[-1]}: go on with it with "
            "--resume, or choose another --name"
        )
    if not names and keeping.expected == "some":
        raise ValueError(f"--resume: {storage.location} holds no checkpoints to go on from")
    newest = storage.newest()
    if newest is None:
        return
    before = storage.state(newest)
    if recipe_hash(before.recipe) != recipe_hash(recipe):
        shown = "\n  ".join(differences(before.recipe, recipe)[:20])
        raise ValueError(f"{folder} holds the run of another recipe:\n  {shown}\nchoose another folder")
    check_catalog(before, storage.folder(newest), catalog_hash, keeping.accept_new_catalog)
    warn_of_other_code(before, storage.folder(newest))
