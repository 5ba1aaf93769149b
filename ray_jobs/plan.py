"""What a recipe will take before it runs: memory, time, checkpoints, reading, and whether a cluster holds it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datasets_catalog import load_dataset
from eventsam.catalog import absolute, open_catalog
from eventsam.engine import Budget
from eventsam.loading import Data, Loader, make_loader
from eventsam.optim import AdamW
from eventsam.spec import REQUIRED, Spec, build, get, replace
from eventsam.tasks.task import Batch, Task
from ray_jobs.cluster import Resources
from ray_jobs.elastic import allowed_sizes
from ray_jobs.package import survey
from ray_jobs.plan_devices import Device, NodeType
from ray_jobs.plan_step import OPTIMIZER_PASSES, BatchOf, ModelSize, StepCost, assumed_batch, cost_of, size_of
from ray_jobs.plan_table import SECONDS_PER_DAY, Plan, shown


@dataclass(frozen=True)
class Reading:
    """What the data are: samples per epoch, bytes of storage per sample, bytes of a sample as the trainer gets it."""

    num_samples: int
    stored_bytes: float
    sample_bytes: int


@dataclass(frozen=True)
class Parts:
    """What of a recipe could be built; None for what its missing values keep from being."""

    recipe: Spec
    budget: Budget
    optimizer: AdamW
    data: Data
    task: Task | None
    loader: Loader | None
    batch_of: BatchOf | None
    missing: tuple[str, ...]


def build_parts(recipe: Spec) -> Parts:
    """Build a recipe as far as the values in it allow; nothing is trained or written.

    Raises:
        ValueError, KeyError: a value is wrong, not merely missing.
    """
    missing = []
    root = get(recipe, "data.root")
    named: Data = build(
        replace(recipe, "data.root", str(absolute(root)) if root != REQUIRED else ".").arguments["data"]
    )
    task = None
    try:
        torch.manual_seed(0)
        task = build(recipe.arguments["task"], "task")
    except (ValueError, FileNotFoundError) as error:
        missing.append(f"memory, step time and checkpoint size: {error}")
    loader, batch_of = None, None
    if root == REQUIRED or not Path(named.root).exists():
        why = "data.root is not given" if root == REQUIRED else f"there is nothing at {named.root}"
        missing.append(f"bytes read, epochs per day: {why} (shapes of samples are those that data.prepare states)")
    elif task is not None:
        dataset = load_dataset(named.dataset)
        loader = make_loader(dataset, open_catalog(dataset, Path(named.root)), named, task.reads, seed=0, training=True)
        batch_of = _real_batches(loader)
    if task is not None and batch_of is None:
        try:
            batch_of = assumed_batch(task, named)
        except ValueError as error:
            missing.append(f"activations and step time: {error}")
    budget, optimizer = (build(recipe.arguments[name], name) for name in ("budget", "optimizer"))
    return Parts(recipe, budget, optimizer, named, task, loader, batch_of, tuple(missing))


def make_plan(
    parts: Parts, resources: Resources, device: Device, nodes: Sequence[NodeType] | None, project: Path | None
) -> Plan:
    """Predict what a run takes.

    Args:
        nodes: the cluster's node types; None for a cluster of unknown size.
        project: the folder that a job would carry; None leaves the upload out.
    """
    plan = Plan(missing=list(parts.missing))
    plan.problems += _shares(parts.budget, resources) + (_room(nodes, resources) if nodes is not None else [])
    if project is not None:
        package = survey(project)
        plan.add("upload", package.num_bytes, "bytes", f"{len(package.files)} files of {package.folder}")
    if parts.task is None:
        return plan
    whole = not _shares(parts.budget, resources)
    size = size_of(parts.task)
    _add_model(plan, size, parts.budget, resources)
    if parts.batch_of is not None and whole:
        cost = cost_of(parts.task, parts.batch_of, parts.budget.precision)
        _add_memory(plan, size, cost, parts.budget, resources, device)
        _add_time(plan, size, cost, parts.budget, resources, device)
    if parts.loader is not None and whole:
        _add_reading(plan, reading_of(parts.loader), parts.budget)
    return plan


def most_workers(budget: Budget, asked: Resources, nodes: Sequence[NodeType] | None) -> Resources:
    """Return what is asked with one number of workers: of a range, the most that share a batch and find room.

    Raises:
        ValueError: no number of the range shares a batch equally.
    """
    if not isinstance(asked.num_workers, tuple):
        return asked
    sizes = [dataclasses.replace(asked, num_workers=number) for number in allowed_sizes(asked, budget)]
    fitting = [size for size in sizes if nodes is None or not _room(nodes, size)]
    return fitting[-1] if fitting else sizes[0]


def reading_of(loader: Loader) -> Reading:
    """Return what one epoch reads; looks at the sizes of the catalog's files and at one sample."""
    catalog = loader.catalog
    shards = sorted(set(catalog.table["shard"].to_pylist()))
    recorded = catalog.details.get("shards", {})
    stored = sum(recorded.get(shard) or _bytes_at(catalog.root / shard) for shard in shards)
    sample = loader.sample(0, 0)
    return Reading(
        catalog.table.num_rows, stored / catalog.table.num_rows, sum(array.nbytes for array in sample.values())
    )


def micro_batch(budget: Budget, resources: Resources) -> float:
    """Return the samples of one forward pass on one worker."""
    return budget.global_batch_size / resources.num_shares / budget.micro_batches


def step_seconds(size: ModelSize, cost: StepCost, budget: Budget, resources: Resources, device: Device) -> float:
    """Return how long one optimiser step takes, exchange of gradients excepted."""
    computing = budget.micro_batches * cost.seconds(device, budget.precision, micro_batch(budget, resources))
    return computing + OPTIMIZER_PASSES * size.trained / device.bandwidth


def peak_bytes(size: ModelSize, cost: StepCost, budget: Budget, resources: Resources) -> float:
    """Return the most that a worker's model and step hold at once; not the libraries around them."""
    samples = micro_batch(budget, resources)
    exchanged = size.gradients if resources.num_shares > 1 else 0
    held = size.trained + size.frozen + size.buffers + size.gradients + size.optimizer + exchanged
    return held + cost.saved.at(samples) + 2 * cost.largest(samples) + budget.micro_batches * cost.batch.at(samples)


def _real_batches(loader: Loader) -> BatchOf:
    def batch_of(count: int) -> Batch:
        arrays = loader.batch(np.arange(count, dtype=np.int64))
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    return batch_of


def _add_model(plan: Plan, size: ModelSize, budget: Budget, resources: Resources) -> None:
    frozen = f"{shown(size.num_trained, 'number')} trained, {shown(size.num_frozen, 'number')} frozen"
    plan.add("parameters", size.trained + size.frozen + size.buffers, "bytes", frozen)
    plan.add("gradients", size.gradients, "bytes")
    plan.add("optimizer", size.optimizer, "bytes", "two moments per trained parameter")
    plan.add("checkpoint", size.checkpoint, "bytes", "model without its frozen parts, and moments")
    kept = budget.keep_last + 2
    plan.add("disk per run", kept * size.checkpoint, "bytes", f"last {budget.keep_last}, best, one being written")
    if resources.num_shares > 1:
        plan.add("exchanged per step", size.gradients, "bytes", "gradients, each worker's share of the all-reduce")


def _add_memory(
    plan: Plan, size: ModelSize, cost: StepCost, budget: Budget, resources: Resources, device: Device
) -> None:
    samples = micro_batch(budget, resources)
    plan.add("activations", cost.saved.at(samples), "bytes", f"kept for the backward pass of {samples:g} samples")
    peak = peak_bytes(size, cost, budget, resources)
    plan.add("memory per worker", peak, "bytes", f"of {shown(device.memory, 'bytes')} of {device.name}")
    workers_here = (
        1 if resources.gpus_per_worker >= 1 or not resources.gpus_per_worker else 1 / resources.gpus_per_worker
    )
    if peak * workers_here > device.memory:
        per_sample = cost.saved.per_sample
        hint = f"a sample's activations take {shown(per_sample, 'bytes')}: raise budget.micro_batches or the workers"
        plan.problems.append(f"{shown(peak, 'bytes')} on {device.name} with {shown(device.memory, 'bytes')}; {hint}")


def _add_time(
    plan: Plan, size: ModelSize, cost: StepCost, budget: Budget, resources: Resources, device: Device
) -> None:
    seconds = step_seconds(size, cost, budget, resources, device)
    flops = budget.micro_batches * cost.flops.at(micro_batch(budget, resources)) * resources.num_shares
    plan.add("computing per step", flops, "number", f"products and sums for {budget.global_batch_size} samples")
    plan.add("step", seconds, "s", f"predicted for {resources.num_shares} x {device.name}")
    plan.add("samples per second", budget.global_batch_size / seconds, "1/s", "where reading keeps up")
    plan.add("run", budget.num_steps * seconds, "s", f"{budget.num_steps} steps, without validation")


def _add_reading(plan: Plan, reading: Reading, budget: Budget) -> None:
    plan.add("samples per epoch", reading.num_samples, "number")
    plan.add(
        "stored per sample", reading.stored_bytes, "bytes", "files of the catalog; windows may be read more than once"
    )
    plan.add("sent per sample", reading.sample_bytes, "bytes", "through the object store to the trainer")
    rate = budget.global_batch_size / plan.value("step")
    plan.add("read", rate * reading.stored_bytes, "bytes/s", "from storage, all workers together")
    plan.add("sent", rate * reading.sample_bytes, "bytes/s")
    plan.add("epochs per day", SECONDS_PER_DAY * rate / reading.num_samples, "number", "where reading keeps up")


def _shares(budget: Budget, resources: Resources) -> list[str]:
    parts = resources.num_shares * budget.micro_batches
    if budget.global_batch_size % parts == 0:
        return []
    return [
        f"budget.global_batch_size {budget.global_batch_size} cannot be shared equally by {resources.num_shares} "
        f"workers x {budget.micro_batches} micro-batches; {_most_shares(budget, resources)} workers can"
    ]


def _most_shares(budget: Budget, resources: Resources) -> int:
    """The most workers, no more than were asked for, that share a batch equally; 0 if the micro-batches divide none."""
    counts = range(resources.num_shares, 0, -1)
    return next((count for count in counts if budget.global_batch_size % (count * budget.micro_batches) == 0), 0)


def _room(nodes: Sequence[NodeType], resources: Resources) -> list[str]:
    """Say what a cluster at its largest lacks; one CPU stays for reading, as a launch demands."""
    number = resources.num_shares
    asked = f"{number} workers x ({resources.cpus_per_worker:g} CPU, {resources.gpus_per_worker:g} GPU)"
    have = ", ".join(f"{node.max_nodes} x {node.name} ({node.cpus:g} CPU, {node.gpus:g} GPU)" for node in nodes)
    room = sum(node.num_workers(resources.cpus_per_worker, resources.gpus_per_worker) for node in nodes)
    if room < number:
        return [f"{asked} on {have}: there is room for {room} workers"]
    cpus = sum(node.cpus * node.max_nodes for node in nodes)
    if number * resources.cpus_per_worker + 1 > cpus:
        return [f"{asked} and 1 CPU for reading on {have}: {cpus:g} CPUs in all"]
    return []


def _bytes_at(path: Path) -> int:
    if path.is_dir():
        return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
    return path.stat().st_size
