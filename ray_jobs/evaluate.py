"""Reports of finished work: one run evaluated on held-out samples, the blur ladder, a run's curves."""

import time
from pathlib import Path

import numpy as np

from datasets_catalog import load_dataset
from eventsam import checkpoint
from eventsam.catalog import absolute, open_catalog
from eventsam.loading import Data, Loader
from eventsam.metrics.bootstrap import paired_bootstrap
from eventsam.metrics_log import MetricsLog
from eventsam.order import Order
from eventsam.provenance import code_hash, watched_memory
from eventsam.recipe import recipe_hash
from eventsam.report.data import ReportData, ResultRow, training_report
from eventsam.report.storage import JSON_NAME, load
from eventsam.report.verdict import verdict
from eventsam.spec import Spec, build, get, spec
from eventsam.tasks.fuse import Fuse
from eventsam.tasks.task import Task
from eventsam.tasks.trained import resolve, trained_task
from ray_jobs import ladder
from ray_jobs.cluster import Resources, connected
from ray_jobs.train import launch_evaluation

BATCH_SIZE = 48


def evaluate_run(run: Path, control: Path | None, split: str, root: Path | None, resources: Resources) -> ReportData:
    """Evaluate a run, or with its control the five inputs of the blur ladder, on one split."""
    started = time.perf_counter()
    run = absolute(run)
    with watched_memory() as peak, connected(num_cpus=resources.logical_cpus):
        if control is not None:
            held_out = ladder.open_ladder(run, absolute(control), split, str(absolute(root)) if root else None)
            values = ladder.measure(held_out, resolve(run).parent.parent / "evaluate", resources)
            rows, differences = ladder.rows_of(held_out, values), ladder.differences_of(held_out, values)
            shares = ladder.shares_of(held_out, values)
            parts = {"rows": rows, "differences": differences, "gap_closed": shares,
                     "notes": verdict(rows, differences, shares)}  # fmt: skip
        else:
            parts = {"rows": _single(run, split, root, resources)}
    seconds = {"evaluate": time.perf_counter() - started}
    return ReportData(
        title=f"{run.name} on {split}",
        seconds=seconds,
        peak_memory_bytes=peak.num_bytes,
        hashes={"code": code_hash()},
        **parts,  # type: ignore[arg-type]
    )


def report_of(folder: Path) -> ReportData:
    """Return the report of a demo's folder (as it was saved) or of a run's (from its log).

    Raises:
        ValueError: the folder holds neither.
    """
    if (folder / "report" / JSON_NAME).exists():
        return load(folder / "report")
    log = MetricsLog(folder / "metrics.jsonl")
    if not log.path.exists():
        raise ValueError(f"{folder} holds neither a demo's report nor a run's metrics.jsonl")
    state = checkpoint.read_state(resolve(folder))
    return training_report(
        folder.name,
        {folder.name: log.read()},
        commands=(f"eventsam report {folder}",),
        hashes={"recipe": recipe_hash(state.recipe), "catalog": state.catalog_hash[:12], "code": code_hash()},
        facts={"steps": str(state.step), "samples": str(state.position)},
    )


def _single(run: Path, split: str, root: Path | None, resources: Resources) -> list[ResultRow]:
    """Return the metrics of one run's own task, by blur level where the dataset has them."""
    folder = resolve(run)
    recipe: Spec = checkpoint.read_state(folder).recipe
    data: Data = build(recipe.arguments["data"])
    task: Task = build(recipe.arguments["task"])
    dataset = load_dataset(data.dataset)
    catalog = open_catalog(dataset, absolute(root) if root else Path(data.root)).select(split, data.where)
    order = Order(catalog.table.num_rows, 0, catalog.hash, shuffle=False)
    loader = Loader(dataset, catalog, data, tuple(sorted(task.reads)), order, augmented=False)
    trained: Spec = spec(trained_task, path=str(folder))  # type: ignore[assignment]
    states = launch_evaluation(trained, loader, BATCH_SIZE * resources.num_shares, folder.parent, resources)
    shown = "events_blurry" if isinstance(task, Fuse) else type(task).__name__.lower()
    objects = np.array(catalog.table["object_id"].to_pylist())
    blurs = np.array(catalog.table["blur"].to_pylist()) if "blur" in catalog.table.column_names else None
    rows = []
    for metric, table in states.items():
        index, value = table[:, 0].astype(int), table[:, 1]
        for blur in ("all",) if blurs is None else [level for level in ladder.LEVELS if (blurs == level).any()]:
            chosen = np.ones(len(index), bool) if blurs is None else blurs[index] == blur
            interval = paired_bootstrap(value[chosen], np.zeros(chosen.sum()), objects[index][chosen])
            num_objects = len(set(objects[index][chosen]))
            rows.append(ResultRow(shown, blur, metric, *interval, num_objects, int(get(recipe, "seed"))))
    return rows
