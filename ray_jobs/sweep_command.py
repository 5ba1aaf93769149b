"""`eventsam sweep`: search a space of recipes."""

import dataclasses
import os
import signal
from collections.abc import Mapping
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
EXECUTORS = ("in_trial", "torch_trainer")
NO_SCORE, PREEMPTED = 1, 143
"""Exit codes: every trial failed; SIGTERM."""
STATED = ("changes", "trials", "scheduler", "search", "samples", "validations", "seeds", "search_seed", "metric",
          "mode", "name")  # fmt: skip
"""What a sweep states once for all: a resumed one has it from its folder."""


WorkersPerTrial = Annotated[
    int, typer.Option(min=1, help="Ray Train workers per trial; one trains in the trial's own process.")
]
Executor = Annotated[str | None, typer.Option(help=f"One of: {', '.join(EXECUTORS)}; default: by the workers.")]
TrackingUri = Annotated[
    str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; default: SQLite in --runs.")
]
Runs = Annotated[Path, typer.Option(help="Folder that holds the sweeps and, unless told otherwise, MLflow.")]


def sweep(
    context: typer.Context,
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
    workers_per_trial: WorkersPerTrial = 1,
    executor: Executor = None,
    threads: Annotated[int, typer.Option(min=0, help="Torch threads per worker; 0 shares this machine's cores.")] = 0,
    name: Annotated[str | None, typer.Option(help="The sweep's folder below --runs.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with the sweep of this name; says all the rest.")] = None,
    runs: Runs = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, print the table, start nothing.")] = False,
    experiment: Annotated[str, typer.Option(help="MLflow experiment.")] = "eventsam",
    tracking_uri: TrackingUri = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the results to this file.")] = None,
) -> None:
    """Search a space of recipes with Ray Tune: checked before the start, resumable, with an offline report."""
    from eventsam.catalog import absolute
    from ray_jobs.cluster import LOGICAL_CPUS, connected
    from ray_jobs.sweep import check_same
    from ray_jobs.sweep_placement import Asked
    from ray_jobs.sweep_plan import SweepOptions, check_builds, make_plan
    from ray_jobs.sweep_store import SweepFolder
    from ray_jobs.tracked import Tracking

    _check_name("scheduler", scheduler, SCHEDULERS)
    _check_name("search", search, SEARCHES)
    _check_name("executor", executor or EXECUTORS[0], EXECUTORS)
    if executor == "in_trial" and workers_per_trial > 1:
        raise ValueError(f"--executor in_trial has one worker per trial, got --workers-per-trial {workers_per_trial}")
    launch = executor == "torch_trainer"
    asked = Asked(concurrent, cpus_per_trial, gpus_per_trial, workers_per_trial, threads, launch)
    if resume is not None:
        folder = SweepFolder(absolute(runs) / resume)
        given, asked = _resumed(folder, recipe, space, asked, _on_the_command_line(context))
    else:
        options = SweepOptions(trials, scheduler, search, seeds, samples, validations, search_seed)  # type: ignore[arg-type]
        given = _asked_for(recipe, space, changes, metric, mode, options)
        folder = SweepFolder(absolute(runs) / (name or f"{recipe}-{space}-{datetime.now():%Y%m%d-%H%M%S}"))
        if folder.exists:
            raise ValueError(f"{folder.path} holds a sweep already; go on with --resume {folder.path.name}")
    plan, _ = check_builds(make_plan(*given))
    if folder.exists:
        check_same(folder, plan)
    # A cluster started here has room for what is asked, within reason: its CPUs are logical, each with its process.
    most = 2 * max(LOGICAL_CPUS, os.cpu_count() or 1)
    with connected(num_cpus=max(LOGICAL_CPUS, min(most, asked.num_cpus(plan.options.num_seeds)))):
        _sweep(plan, folder, asked, Tracking(experiment, tracking_uri), dry_run, json_file)


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


def _on_the_command_line(context: typer.Context) -> dict[str, str]:
    """Return the options that were given, not left to their defaults: parameter to how it is written."""
    sources = {str(known.name): (context.get_parameter_source(str(known.name)), known.opts[0]) for known in
               context.command.params}  # fmt: skip
    return {name: option for name, (source, option) in sources.items() if source and source.name == "COMMANDLINE"}


def _resumed(
    folder: "SweepFolder", recipe: str | None, space: str | None, asked: "Asked", options_given: Mapping[str, str]
) -> tuple[Given, "Asked"]:
    """Return what a sweep's folder states; of resources, what is asked for now comes first."""
    from ray_jobs.sweep import stated

    refused = [option for name, option in options_given.items() if name in STATED]
    if refused:
        raise ValueError(
            f"--resume goes on with {folder.path.name} as it was stated: leave {', '.join(refused)} away, or start a "
            "sweep of another name"
        )
    name, spec, found, options, before = stated(folder)
    for what, said, held in (("recipe", recipe, name), ("space", space, found.name)):
        if said not in (None, held):
            raise ValueError(f"{folder.path} sweeps the {what} {held!r}, not {said!r}")
    written = {*options_given, *(["launch"] if "executor" in options_given else [])}
    now = {key: value for key, value in dataclasses.asdict(asked).items() if key in written}
    return (name, spec, found, options), dataclasses.replace(before, **now)


def _sweep(
    plan: "Plan", folder: "SweepFolder", asked: "Asked", tracking: "Tracking", dry_run: bool, json_file: Path | None
) -> None:
    from eventsam.checkpoint import LocalStorage
    from ray_jobs.sweep import record_of
    from ray_jobs.sweep_placement import place
    from ray_jobs.sweep_report import plan_table

    placement = place(asked, plan)
    typer.echo(plan_table(plan, placement))
    if dry_run:
        return
    LocalStorage(folder.path).probe(0)
    with folder.held():
        if not folder.exists:
            folder.write_record(record_of(plan, asked))
        _run(plan, folder, placement, tracking, json_file)


def _run(plan: "Plan", folder: "SweepFolder", placement: Any, tracking: "Tracking", json_file: Path | None) -> None:
    from eventsam.report.sweep_html import write_sweep_report
    from ray_jobs.sweep import run_sweep
    from ray_jobs.sweep_report import result_json, result_table, sweep_report
    from ray_jobs.sweep_store import write_whole
    from ray_jobs.sweep_tracking import SweepTracking

    mirror = SweepTracking(tracking, plan, folder)
    html, pictures, status = folder.path / "report.html", {}, "FAILED"
    # Ray's own handler gives a process three seconds.
    signal.signal(signal.SIGTERM, _end)
    try:
        run_sweep(plan, folder, placement, mirror, lambda line: typer.echo(line, err=True))
        report = sweep_report(plan, folder, placement)
        pictures = write_sweep_report(html, report)
        write_whole(folder.path / "result.json", result_json(report))
        if json_file is not None:
            json_file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(json_file, result_json(report))
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit) as error:
        status = "KILLED"
        typer.echo(f"go on with: eventsam sweep --resume {folder.path.name} --runs {folder.path.parent}", err=True)
        if isinstance(error, SystemExit):
            raise typer.Exit(PREEMPTED) from None  # Ray makes other codes 1
        raise
    finally:
        mirror.finish(status, pictures, html if pictures else None)  # type: ignore[arg-type]
    typer.echo(result_table(report))
    typer.echo(f"winner:  {report.command}" if report.command else "no trial has a score")
    typer.echo(f"report:  {html} (open it in a browser)")
    if not report.command:
        raise typer.Exit(NO_SCORE)


def _end(number: int, frame: Any) -> None:
    raise SystemExit(PREEMPTED)


def _check_name(what: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise ValueError(unknown_name(what, name, names))
