"""The one Ray Train launch and its worker: a recipe to a trained checkpoint, restarted where it stopped."""

import dataclasses
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray.data
import ray.train
import torch
import torch.distributed
from numpy.typing import NDArray
from ray.data import ExecutionOptions
from ray.train import DataConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, prepare_model
from torch import nn

from datasets_catalog import load_dataset
from eventsam import checkpoint
from eventsam.catalog import absolute, open_catalog
from eventsam.engine import NonFiniteLossError, evaluate, fit
from eventsam.loading import Loader, make_loader
from eventsam.metrics_log import MetricsLog
from eventsam.order import Layout
from eventsam.recipe import Recipe, recipe_hash
from eventsam.spec import Spec, build, differences, from_json, replace, to_json
from eventsam.tasks.task import Batch, Task
from eventsam.tasks.trained import resolve
from ray_jobs import pipeline
from ray_jobs.cluster import Resources, check_resources

log = logging.getLogger(__name__)

STOP_FILE = "stop"


@dataclass
class RayRun:
    """A run on a Ray Train worker."""

    folder: Path
    device: torch.device = field(default_factory=ray.train.torch.get_device)
    rank: int = field(default_factory=lambda: ray.train.get_context().get_world_rank())
    world_size: int = field(default_factory=lambda: ray.train.get_context().get_world_size())

    def wrap(self, task: Task) -> nn.Module:
        """Return the task in DDP where there is more than one worker."""
        if self.world_size == 1:
            return task
        return cast(nn.Module, prepare_model(task, move_to_device=False))

    def restore(self) -> Path | None:
        """Return the newest checkpoint of the run's folder."""
        return checkpoint.latest(self.folder / "checkpoints")

    def report(self, record: Mapping[str, float]) -> None:
        """Append to the run's log, once for all workers; a validation also goes to Ray, where sweeps listen."""
        if self.rank == 0:
            MetricsLog(self.folder / "metrics.jsonl").append(record)
        if any(name.startswith("val/") for name in record):
            ray.train.report(dict(record))

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Return every worker's rows; workers may hold different numbers of them."""
        if self.world_size == 1:
            return [values]
        table = torch.from_numpy(np.atleast_2d(values)).to(self.device)
        counts = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.world_size)]
        torch.distributed.all_gather(counts, torch.tensor([len(table)], device=self.device))
        longest = max(int(count) for count in counts)
        padded = torch.zeros(longest, table.shape[1], dtype=table.dtype, device=self.device)
        padded[: len(table)] = table
        tables = [torch.zeros_like(padded) for _ in range(self.world_size)]
        torch.distributed.all_gather(tables, padded)
        shape = values.shape[1:] if values.ndim > 1 else values.shape
        rows = [table[: int(count)].cpu().numpy() for table, count in zip(tables, counts, strict=True)]
        return [array.reshape(-1, *shape) if values.ndim > 1 else array.reshape(shape) for array in rows]

    def stopping(self) -> bool:
        """Say whether the run's folder holds a stop file, as the first worker sees it."""
        asked = np.array([float((self.folder / STOP_FILE).exists())])
        return bool(self.gather(asked)[0][0])


@dataclass(frozen=True)
class Outcome:
    """How a launch ended: `status` is "finished" or "interrupted"; `best` is the best checkpoint, else the last one."""

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


def launch(recipe: Spec, folder: Path, resources: Resources, *, max_failures: int = 3) -> Outcome:
    """Train a recipe on the connected cluster; goes on from `folder`'s newest checkpoint where it holds one.

    Blocks until the end. A file named `stop` in `folder` makes the workers save a checkpoint and end.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.
        ValueError: the recipe does not fit its data or the cluster, or `folder` holds another recipe's run.
    """
    recipe, built, training, validation = prepare(recipe)
    check_resources(resources)
    folder = absolute(folder)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / STOP_FILE).unlink(missing_ok=True)
    _check_same_recipe(folder, recipe)
    (folder / "recipe.json").write_text(json.dumps(to_json(recipe), indent=1))
    batch_size = built.budget.global_batch_size
    layout = pipeline.layout_of(training, 0, built.budget.num_steps * batch_size, batch_size, resources.num_shares)
    config = {
        "recipe": to_json(recipe),
        "folder": folder,
        "training": training,
        "validation": validation,
        "layout": layout,
        "num_threads": resources.num_threads,
    }
    datasets = {
        "train": lambda: _rest_of_stream(training, layout, folder / "checkpoints"),
        "val": _whole_stream(validation, batch_size, resources.num_shares),
    }
    returned = _run(_train_worker, config, datasets, resources, folder, max_failures)
    if "error" in returned:
        raise (ValueError if returned["finite"] else NonFiniteLossError)(returned["error"])
    last = folder / "checkpoints" / returned["checkpoint"]
    return Outcome(
        returned["status"],
        folder,
        returned["step"],
        returned["metrics"],
        last,
        resolve(folder),
        training.catalog.hash,
    )


def launch_evaluation(
    task: Spec, loader: Loader, global_batch_size: int, folder: Path, resources: Resources
) -> dict[str, NDArray[np.float64]]:
    """Evaluate a task on a loader's samples on the connected cluster; return the merged metric states as arrays."""
    check_resources(resources)
    layout = _whole_layout(loader, global_batch_size, resources.num_shares)
    config = {"task": to_json(task), "folder": absolute(folder), "layout": layout, "num_threads": resources.num_threads}
    datasets = {"eval": _whole_stream(loader, global_batch_size, resources.num_shares)}
    return _run(_evaluation_worker, config, datasets, resources, absolute(folder), max_failures=1)


def _run(
    worker: Callable[[dict[str, Any]], Any],
    config: dict[str, Any],
    datasets: Mapping[str, Any],
    resources: Resources,
    folder: Path,
    max_failures: int,
) -> Any:
    trainer = TorchTrainer(
        worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=_per_worker(resources) if resources.num_workers else None,
        ),
        run_config=RunConfig(
            # Ray would resume a finished run of the same name by itself; positions are this project's own to keep.
            name=f"{folder.name}-{uuid.uuid4().hex[:8]}",
            storage_path=str(folder / "ray"),
            failure_config=FailureConfig(max_failures=max_failures, controller_failure_limit=20),
        ),
        datasets=dict(datasets),
        dataset_config=DataConfig(execution_options=ExecutionOptions(preserve_order=True)),
        torch_config=TorchConfig(backend="nccl" if resources.gpus_per_worker else "gloo"),
    )
    return trainer.fit().return_value


def _per_worker(resources: Resources) -> dict[str, float]:
    gpus = {"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {}
    return {"CPU": resources.cpus_per_worker} | gpus


def _train_worker(config: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(config["num_threads"])
    recipe_spec = from_json(config["recipe"])
    torch.manual_seed(recipe_spec.arguments.get("seed", 0))
    recipe: Recipe = build(recipe_spec)
    folder, layout, training = config["folder"], config["layout"], config["training"]
    run = RayRun(folder)

    def training_batches(position: int) -> Iterable[Mapping[str, Any]]:
        rest = dataclasses.replace(layout, start=position)
        return pipeline.batches(ray.train.get_dataset_shard("train"), rest, run.rank)

    def validation_batches() -> Iterable[Mapping[str, Any]]:
        whole = _whole_layout(config["validation"], layout.global_batch_size, layout.num_workers)
        return pipeline.batches(ray.train.get_dataset_shard("val"), whole, run.rank)

    try:
        summary = fit(
            recipe.task,
            training_batches,
            optimizer=recipe.optimizer,
            budget=recipe.budget,
            run=run,
            folder=folder / "checkpoints",
            recipe=recipe_spec,
            catalog_hash=training.catalog.hash,
            validation=validation_batches,
            monitor=recipe.monitor,
            identify=lambda batch: identify(training, batch),
        )
    except NonFiniteLossError as error:
        # All workers see it at the same step and none would do better on a second try.
        return {"error": str(error), "finite": False}
    except (ValueError, KeyError) as error:
        if run.world_size > 1:
            raise  # the others wait for this worker: let Ray stop them
        return {"error": str(error), "finite": True}
    last = summary.checkpoint.name if summary.checkpoint else ""
    return {"status": summary.status, "step": summary.step, "metrics": dict(summary.metrics), "checkpoint": last}


def _evaluation_worker(config: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    torch.set_num_threads(config["num_threads"])
    task: Task = build(from_json(config["task"]))
    run = RayRun(config["folder"])
    shard = ray.train.get_dataset_shard("eval")
    states = evaluate(task, pipeline.batches(shard, config["layout"], run.rank), run)
    return {name: state.to_array() for name, state in states.items()}


def identify(loader: Loader, batch: Batch) -> list[str]:
    """Return the sample ids of a batch."""
    return [loader.catalog.row(int(index))["sample_id"] for index in batch["sample_index"]]


def _rest_of_stream(loader: Loader, layout: Layout, checkpoints: Path) -> ray.data.Dataset:
    """Return the samples after the newest checkpoint; Ray Train asks for it at every start of its workers."""
    newest = checkpoint.latest(checkpoints)
    start = checkpoint.read_state(newest).position if newest else 0
    return pipeline.stream(loader, dataclasses.replace(layout, start=start))


def _whole_layout(loader: Loader, global_batch_size: int, num_workers: int) -> Layout:
    return pipeline.layout_of(loader, 0, loader.order.num_samples, global_batch_size, num_workers)


def _whole_stream(loader: Loader, global_batch_size: int, num_workers: int) -> Callable[[], Any]:
    layout = _whole_layout(loader, global_batch_size, num_workers)
    return lambda: pipeline.stream(loader, layout)


def _check_same_recipe(folder: Path, recipe: Spec) -> None:
    newest = checkpoint.latest(folder / "checkpoints")
    if newest is None:
        return
    before = checkpoint.read_state(newest).recipe
    if recipe_hash(before) != recipe_hash(recipe):
        shown = "\n  ".join(differences(before, recipe)[:20])
        raise ValueError(f"{folder} holds the run of another recipe:\n  {shown}\nchoose another folder")
