"""Reports of finished work: one run evaluated on held-out samples, the blur ladder, merged runs, a run's curves."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets_catalog import load_dataset
from eventsam import checkpoint
from eventsam.catalog import absolute, open_catalog
from eventsam.loading import Data
from eventsam.metrics_log import MetricsLog
from eventsam.provenance import code_hash, watched_memory
from eventsam.recipe import recipe_hash
from eventsam.report.attention import attention_sheet
from eventsam.report.data import AttentionRow, ReportData, training_report
from eventsam.report.html import write_report
from eventsam.report.measured import (
    FILE_NAME,
    Measured,
    differences_of,
    groups_of,
    load_measured,
    rows_of,
    save_measured,
    shares_of,
)
from eventsam.report.merge import merged_report
from eventsam.report.storage import JSON_NAME, load, save
from eventsam.report.verdict import verdict
from eventsam.spec import Spec, build, spec
from eventsam.tasks.fuse import Fuse
from eventsam.tasks.task import Task
from eventsam.tasks.trained import resolve, trained_task
from ray_jobs import ladder
from ray_jobs.attention import KEYS, attention_rows
from ray_jobs.cluster import Resources, connected
from ray_jobs.exposures import render_exposures
from ray_jobs.train import launch_evaluation

BATCH_SIZE = 48
REPORT_FOLDER = "report"


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated on which samples.

    `control` or `inputs` climb the blur ladder; without either the run's own task is evaluated. `exposures_ms` renders
    the split's objects again at these exposures. `by` names groupings (see `groups_of`); None takes those that the
    catalog tells. `num_attention` samples get attention maps.
    """

    run: Path
    control: Path | None = None
    split: str = "test"
    root: Path | None = None
    inputs: tuple[str, ...] = ()
    exposures_ms: tuple[float, ...] = ()
    extras: ladder.Extras = dataclasses.field(default_factory=ladder.Extras)
    by: tuple[str, ...] | None = None
    num_attention: int = 0

    @property
    def climbs(self) -> bool:
        """Whether inputs are compared."""
        return bool(self.control or self.inputs or vars(self.extras) != vars(ladder.Extras()))


def evaluate_run(wanted: Evaluation, resources: Resources) -> tuple[ReportData, Measured]:
    """Evaluate a run, or the inputs of its blur ladder; return the report and what it was made of."""
    started = time.perf_counter()
    run = absolute(wanted.run)
    with watched_memory() as peak, connected(num_cpus=resources.logical_cpus):
        root = _root(wanted, run)
        if wanted.climbs:
            control = absolute(wanted.control) if wanted.control else None
            held_out = ladder.open_ladder(run, control, wanted.split, root, wanted.inputs, wanted.extras)
            measured = ladder.measure(held_out, resolve(run).parent.parent / "evaluate", resources)
        else:
            measured = _single(run, wanted.split, root, resources)
        attention = _attention(run, wanted.split, root, wanted.num_attention)
    return ReportData(
        title=f"{run.name} on {wanted.split}",
        seconds={"evaluate": time.perf_counter() - started},
        peak_memory_bytes=peak.num_bytes,
        hashes={"code": code_hash(), "catalog": measured.catalog[:12]},
        groups=groups_of(measured, _groupings(wanted, measured)),
        attention=attention,
        **tables_of(measured),  # type: ignore[arg-type]
    ), measured


def tables_of(measured: Measured) -> dict[str, object]:
    """Return the report's rows, differences, shares and verdict."""
    rows, differences, shares = rows_of(measured), differences_of(measured), shares_of(measured)
    told = verdict(rows, differences, shares) if measured.pair("events_blurry", "blurry_rgb") else ()
    return {"rows": rows, "differences": differences, "gap_closed": shares, "notes": told}


def write_evaluation(folder: Path, report: ReportData, measured: Measured) -> Path:
    """Write a report, its data, the samples' numbers and attention maps below `folder`; return the HTML's path."""
    html = folder / "report.html"
    write_report(html, report)
    save(report, folder / REPORT_FOLDER)
    save_measured(measured, folder / REPORT_FOLDER / FILE_NAME)
    write_attention(folder / "attention", report.attention)
    return html


def write_attention(folder: Path, rows: Sequence[AttentionRow]) -> None:
    """Write one PNG per sample: teacher above, student below."""
    for number, row in enumerate(rows):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"attention_{number}.png").write_bytes(attention_sheet(row))


def report_of(folder: Path) -> ReportData:
    """Return the report of a demo's or an evaluation's folder (as it was saved) or of a run's (from its log).

    Raises:
        ValueError: the folder holds neither.
    """
    if (folder / REPORT_FOLDER / JSON_NAME).exists():
        return load(folder / REPORT_FOLDER)
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


def merged(folders: Sequence[Path], command: str) -> ReportData:
    """Return one report of several demos' or evaluations' folders.

    Raises:
        ValueError: a folder holds no measured samples, or two have one seed.
    """
    runs = [load_measured(folder / REPORT_FOLDER / FILE_NAME) for folder in folders]
    return merged_report([folder.name for folder in folders], runs, (command,))


def _single(run: Path, split: str, root: str | None, resources: Resources) -> Measured:
    """Return the metrics of one run's own task."""
    folder = resolve(run)
    recipe: Spec = checkpoint.read_state(folder).recipe
    task: Task = build(recipe.arguments["task"])
    loader, seed, seen = ladder.held_out(recipe, split, root, task.reads)
    trained: Spec = spec(trained_task, path=str(folder))  # type: ignore[assignment]
    states = launch_evaluation(trained, loader, BATCH_SIZE * resources.num_shares, folder.parent, resources)
    shown = "events_blurry" if isinstance(task, Fuse) else type(task).__name__.lower()
    values = {f"{shown}/{name}": table[np.argsort(table[:, 0]), 1] for name, table in states.items()}
    return ladder.measured_of(loader, values, seed, seen)


def _attention(run: Path, split: str, root: str | None, num_samples: int) -> list[AttentionRow]:
    if not num_samples:
        return []
    recipe: Spec = checkpoint.read_state(resolve(run)).recipe
    loader, _, _ = ladder.held_out(recipe, split, root, KEYS)
    return attention_rows(trained_task(run), loader, num_samples)


def _root(wanted: Evaluation, run: Path) -> str | None:
    """Return the catalog to read instead of the recipe's own: the one asked for, at the exposures asked for."""
    root = absolute(wanted.root) if wanted.root else None
    if not wanted.exposures_ms:
        return str(root) if root else None
    folder = resolve(run)
    data: Data = build(checkpoint.read_state(folder).recipe.arguments["data"])
    catalog = open_catalog(load_dataset(data.dataset), root or Path(data.root))
    times = "_".join(f"{value:g}ms" for value in sorted(wanted.exposures_ms))
    out = folder.parent.parent / "exposures" / f"{catalog.hash[:12]}-{wanted.split}-{times}"
    return str(render_exposures(catalog, wanted.split, wanted.exposures_ms, out))


def _groupings(wanted: Evaluation, measured: Measured) -> tuple[str, ...]:
    if wanted.by is not None:
        return wanted.by
    return ("category", "seen") if measured.categories is not None else ()
