"""`eventsam sweep`: search a space of recipes."""

import dataclasses
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventsam.recipe import load_recipe, recipe_names
from eventsam.spec import Spec, replace
from eventsam.unknown_name import unknown_name
from search_spaces import Space, load_space, space_names

if TYPE_CHECKING:
    from ray_jobs.sweep_placement import Asked
    from ray_jobs.sweep_plan import Plan, SweepOptions
    from ray_jobs.sweep_store import SweepFolder
    from ray_jobs.tracked import Tracking

SCHEDULERS, SEARCHES = ("asha", "pbt", "hyperband", "fifo"), ("random", "grid", "optuna", "bohb")


def sweep(
    recipe: Annotated[str | None, typer.Argument(help=f"One of: {', '.join(recipe_names())}.")] = None,
    space: Annotated[str | None, typer.Argument(help=f"One of: {', '.join(space_names())}.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="Change a recipe value for all points.")] = None,
    trials: Annotated[int, typer.Option(min=0, help="Points to try; default 8, or all of a grid.")] = 0,
    scheduler: Annotated[str, typer.Option(help=f"One of: {', '.join(SCHEDULERS)}.")] = "asha",
    search: Annotated[str, typer.Option(help=f"One of: {', '.join(SEARCHES)}.")] = "random",
    samples: Annotated[int, typer.Option(min=0, help="Samples of a whole trial; default: the recipe's budget.")] = 0,
    validations: Annotated[int, typer.Option(min=1, help="Validations of a whole trial, told to the scheduler.")] = 9,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds per point; its score is their mean.")] = 1,
    search_seed: Annotated[int, typer.Option(min=0, help="Seed of the drawn points.")] = 0,
    metric: Annotated[str | None, typer.Option(help="Score by this validation metric; default: the space's.")] = None,
    mode: Annotated[str | None, typer.Option(help="max or min; default: the space's.")] = None,
    concurrent: Annotated[int, typer.Option(min=0, help="Trials at once; default: as many as fit.")] = 0,
    cpus_per_trial: Annotated[float, typer.Option(min=0.01, help="Logical CPUs per trial, or per worker of it.")] = 1.0,
    gpus_per_trial: Annotated[float, typer.Option(min=0.0, help="GPUs per trial, or per worker of it.")] = 0.0,
    workers_per_trial: Annotated[
        int, typer.Option(min=1, help="Ray Train workers per trial; one trains in the trial's own process.")
    ] = 1,
    threads: Annotated[int, typer.Option(min=0, help="Torch threads per worker; 0 shares this machine's cores.")] = 0,
    name: Annotated[str | None, typer.Option(help="The sweep's folder below --runs.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with the sweep of this name; says all the rest.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the sweeps and, unless told otherwise, MLflow.")] = Path(
        "runs"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the table, start nothing.")
    ] = False,
    experiment: Annotated[str, typer.Option(help="MLflow experiment.")] = "eventsam",
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow tracking URI; default: SQLite in --runs.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the results to this file.")] = None,
) -> None:
    """Search a space of recipes with Ray Tune: checked before the start, resumable, with an offline report."""
    from eventsam.catalog import absolute
    from ray_jobs.cluster import LOGICAL_CPUS, connected
    from ray_jobs.sweep_placement import Asked
    from ray_jobs.sweep_plan import SweepOptions
    from ray_jobs.sweep_store import SweepFolder
    from ray_jobs.tracked import Tracking

    _check_name("scheduler", scheduler, SCHEDULERS)
    _check_name("search", search, SEARCHES)
    asked = Asked(concurrent, cpus_per_trial, gpus_per_trial, workers_per_trial, threads)
    if resume is not None:
        folder = SweepFolder(absolute(runs) / resume)
        given = _resumed(folder, recipe, space)
    else:
        options = SweepOptions(trials, scheduler, search, seeds, samples, validations, search_seed)  # type: ignore[arg-type]
        given = _asked_for(recipe, space, changes, metric, mode, options)
        folder = SweepFolder(absolute(runs) / (name or f"{recipe}-{space}-{datetime.now():%Y%m%d-%H%M%S}"))
        if folder.exists and not dry_run:
            raise ValueError(f"{folder.path} holds a sweep already; go on with --resume {folder.path.name}")
    logical = max(
        LOGICAL_CPUS, int(concurrent * cpus_per_trial * workers_per_trial * given[3].num_seeds) + concurrent + 1
    )
    with connected(num_cpus=logical if workers_per_trial > 1 else LOGICAL_CPUS):
        _sweep(given, folder, asked, Tracking(experiment, tracking_uri), dry_run, json_file)


Given = tuple[str, Spec, Space, "SweepOptions"]


def _asked_for(
    recipe: str | None, space: str | None, changes: list[str] | None, metric: str | None, mode: str | None,
    options: "SweepOptions",
) -> Given:  # fmt: skip
    if recipe is None or space is None:
        raise ValueError("say which RECIPE to sweep over which SPACE, or --resume NAME")
    stated = load_recipe(recipe)
    for change in changes or []:
        path, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f"--set {change!r} has no value; write --set path=value")
        stated = replace(stated, path, value)
    found = load_space(space)
    if mode not in (None, "max", "min"):
        raise ValueError(unknown_name("mode", str(mode), ("max", "min")))
    return recipe, stated, dataclasses.replace(found, metric=metric or found.metric, mode=mode or found.mode), options


def _resumed(folder: "SweepFolder", recipe: str | None, space: str | None) -> Given:
    from ray_jobs.sweep import stated

    name, spec, found, options = stated(folder)
    for what, said, held in (("recipe", recipe, name), ("space", space, found.name)):
        if said not in (None, held):
            raise ValueError(f"{folder.path} sweeps the {what} {held!r}, not {said!r}")
    return name, spec, found, options


def _sweep(
    given: Given, folder: "SweepFolder", asked: "Asked", tracking: "Tracking", dry_run: bool, json_file: Path | None
) -> None:
    from ray_jobs.sweep import check_same, record_of
    from ray_jobs.sweep_placement import place
    from ray_jobs.sweep_plan import check_builds, make_plan
    from ray_jobs.sweep_report import plan_table

    plan, _ = check_builds(make_plan(*given))
    placement = place(asked, plan)
    typer.echo(plan_table(plan, placement))
    if dry_run:
        return
    with folder.held():
        if folder.exists:
            check_same(folder, plan)
        else:
            folder.write_record(record_of(plan))
        _run(plan, folder, placement, tracking, json_file)


def _run(plan: "Plan", folder: "SweepFolder", placement: Any, tracking: "Tracking", json_file: Path | None) -> None:
    from eventsam.report.sweep_html import write_sweep_report
    from ray_jobs.sweep import run_sweep
    from ray_jobs.sweep_report import result_json, result_table, sweep_report
    from ray_jobs.sweep_store import write_whole
    from ray_jobs.sweep_tracking import SweepTracking

    mirror = SweepTracking(tracking, plan, folder)
    started, html, pictures, status = time.perf_counter(), folder.path / "report.html", {}, "FAILED"
    try:
        run_sweep(plan, folder, placement, mirror, lambda line: typer.echo(line, err=True))
        report = sweep_report(plan, folder, placement, time.perf_counter() - started)
        pictures = write_sweep_report(html, report)
        write_whole(folder.path / "result.json", result_json(report))
        if json_file is not None:
            json_file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(json_file, result_json(report))
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        typer.echo(f"go on with: eventsam sweep --resume {folder.path.name} --runs {folder.path.parent}", err=True)
        raise
    finally:
        mirror.finish(status, pictures, html if pictures else None)  # type: ignore[arg-type]
    typer.echo(result_table(report))
    typer.echo(f"winner:  {report.command}" if report.command else "no trial has a score")
    typer.echo(f"report:  {html} (open it in a browser)")


def _check_name(what: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise ValueError(unknown_name(what, name, names))
