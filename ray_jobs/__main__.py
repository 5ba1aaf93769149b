"""The command line: `eventsam COMMAND`, or `python -m ray_jobs COMMAND` in a submitted Ray job."""

import json
import logging
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from eventsam.checkpoint import CheckpointWriteError
from eventsam.engine import NonFiniteLossError
from eventsam.recipe import load_recipe, recipe_names
from eventsam.spec import Spec, replace
from ray_jobs import catalog_commands, event_commands
from ray_jobs.chaos_command import chaos
from ray_jobs.compare_command import compare_runs
from ray_jobs.convert_sam3d_command import ConvertCommand
from ray_jobs.evaluate_command import evaluate, report
from ray_jobs.plan_command import plan
from ray_jobs.repro_command import repro
from ray_jobs.simulate_command import simulate
from ray_jobs.submit_command import jobs_app, submit
from ray_jobs.sweep_command import sweep
from ray_jobs.targets_command import targets
from ray_jobs.track_command import track
from ray_jobs.view_command import view

P = ParamSpec("P")

OK, FAILED, BAD_INPUT, INTERRUPTED, PREEMPTED = 0, 1, 2, 130, 143

if TYPE_CHECKING:
    from ray_jobs.train import Outcome

app = typer.Typer(
    help="Event-camera vision trained, swept and compared on a Ray cluster.\n\n"
    "Exit codes: 0 done, 1 failed while running, 2 bad input, 130 interrupted, 143 preempted by SIGTERM (a "
    "checkpoint was saved).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(catalog_commands.app, name="catalog")
app.command("info")(event_commands.info_command)
app.command("convert", cls=ConvertCommand, epilog="Released SAM 3D checkpoints: eventsam convert sam3d --help")(
    event_commands.convert_command
)
app.command("formats")(event_commands.formats_command)
app.command("view")(view)
app.command("simulate")(simulate)
app.command("sweep")(sweep)
app.command("evaluate")(evaluate)
app.command("report")(report)
app.command("compare")(compare_runs)
app.command("track")(track)
app.command("plan")(plan)
app.command("repro")(repro)
app.command("chaos")(chaos)
app.command("submit")(submit)
app.command("targets")(targets)
app.add_typer(jobs_app, name="jobs")

JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write what is printed to this JSON file.")]
Runs = Annotated[Path, typer.Option(help="Folder that holds the runs and, unless told otherwise, their MLflow store.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; default: a SQLite file in the runs' folder."),
]
Workers = Annotated[int, typer.Option(min=0, help="Ray Train workers; 0 trains in this process, restarted by nobody.")]
WorkerRange = Annotated[
    str,
    typer.Option("--workers", help="Ray Train workers: a number, or an elastic range as in 1-4; 0: in this process."),
]
Cpus = Annotated[float, typer.Option(min=0.01, help="Logical CPUs per worker.")]
Gpus = Annotated[float, typer.Option(min=0.0, help="GPUs per worker.")]
Threads = Annotated[int, typer.Option(min=0, help="Torch threads per worker; 0 shares this machine's cores.")]
Readers = Annotated[
    str, typer.Option(help="Label KEY=VALUE of the nodes that read samples, as in ray-subcluster=reader; default: any.")
]
Trainers = Annotated[str, typer.Option(help="Label KEY=VALUE of the nodes that train; default: all but the readers.")]
ReaderCpus = Annotated[int, typer.Option(min=0, help="Blocks read at once, a CPU each; 0: as many as find room.")]
StoreMib = Annotated[int, typer.Option(min=0, help="MiB of the object store that waiting blocks may fill; 0: half.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a recipe value, as in task.blocks=5,11.")]
CheckpointsAt = Annotated[
    str | None,
    typer.Option(help="Keep checkpoints below this folder or s3:// URL, by run name; default: in the run."),
]
AcceptNewCatalog = Annotated[
    bool, typer.Option("--accept-new-catalog", help="Resume although the catalog's content changed.")
]
RetriesAllowed = Annotated[
    int, typer.Option(min=0, help="Launches after one that failed at the same step, each after a longer wait.")
]
HangMinutes = Annotated[
    float, typer.Option(min=0.0, help="No step for so long: write down all stacks and restart; 0: wait for ever.")
]
RegisterAs = Annotated[str | None, typer.Option(help="Make the best checkpoint a version of this MLflow model.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the catalog, the runs and the report.")] = Path("demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="The same stages, smaller: three minutes on two cores.")
    ] = False,
    model: Annotated[
        str, typer.Option(help="reconstructor, or sam3d_tiny: SAM 3D's generator at small size.")
    ] = "reconstructor",
    seed: Annotated[int, typer.Option(min=0, help="Seed of objects, training and order.")] = 0,
    meshes: Annotated[Path | None, typer.Option(help="Hold out these meshes instead of procedural objects.")] = None,
    z_up: Annotated[
        list[str] | None, typer.Option(help="Pattern of meshes with z up, as in 'ycb/*'; others: y.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Ray Train workers; 0 trains in this process.")] = 0,
    threads: Threads = 0,
    tracking_uri: TrackingUri = None,
    json_file: JsonFile = None,
) -> None:
    """Render objects, train Event-SAM3D's three stages and a control, compare five inputs, write a report."""
    from eventsam.catalog import absolute
    from eventsam.report.summary import table_text
    from ray_jobs.cluster import Resources
    from ray_jobs.demo import FULL, QUICK, Demo, write_results
    from ray_jobs.demo_models import check_model
    from ray_jobs.supervise import Tracking

    folder = absolute(out)
    tracking = Tracking(experiment="eventsam-demo", uri=tracking_uri)
    patterns = tuple(z_up or ())
    job = Demo(
        folder,
        QUICK if quick else FULL,
        seed,
        meshes,
        patterns,
        Resources(workers, threads_per_worker=threads),
        tracking,
        check_model(model),
    )
    report = job.run(["eventsam", *sys.argv[1:]])
    html = write_results(folder, report, tracking, json_file)
    typer.echo(table_text(report))
    typer.echo(f"report: {html} (open it in a browser)")
    typer.echo(f"runs:   mlflow ui --backend-store-uri {tracking.uri_in(folder)}")


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(recipe_names())}.")],
    changes: Set = None,
    name: Annotated[str | None, typer.Option(help="The run's folder below --runs; default: recipe and time.")] = None,
    runs: Runs = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run of this --name.")] = False,
    checkpoints: CheckpointsAt = None,
    accept_new_catalog: AcceptNewCatalog = False,
    workers: WorkerRange = "1",
    retries: RetriesAllowed = 3,
    hang_minutes: HangMinutes = 20.0,
    cpus_per_worker: Cpus = 1.0,
    gpus_per_worker: Gpus = 0.0,
    threads: Threads = 0,
    readers: Readers = "",
    trainers: Trainers = "",
    reader_cpus: ReaderCpus = 0,
    store_mib: StoreMib = 0,
    experiment: Annotated[str, typer.Option(help="MLflow experiment.")] = "eventsam",
    tracking_uri: TrackingUri = None,
    register: RegisterAs = None,
    json_file: JsonFile = None,
) -> None:
    """Train a recipe with Ray Data and Ray Train, tracked by MLflow."""
    from eventsam.faults.step_watch import Watching
    from ray_jobs.cluster import Resources, connected, parse_workers
    from ray_jobs.data_plane import DataPlane, check_plane
    from ray_jobs.retry import Retries
    from ray_jobs.supervise import Tracking
    from ray_jobs.supervise import train as run_training
    from ray_jobs.train import Keeping, below

    spec = changed(load_recipe(recipe), changes)
    folder = run_folder(runs, name or f"{recipe}-{datetime.now():%Y%m%d-%H%M%S}", resume, checkpoints)
    plane = DataPlane(readers, trainers, reader_cpus, store_mib)
    resources = Resources(parse_workers(workers), cpus_per_worker, gpus_per_worker, threads, data=plane)
    known = (folder / "recipe.json").exists()
    expected = "any" if known else "some" if resume else "none"
    keeping = Keeping(checkpoints and below(checkpoints, folder.name), accept_new_catalog, expected=expected)
    with connected(num_cpus=resources.logical_cpus):
        site = check_plane(plane, resources.min_workers, cpus_per_worker)
        typer.echo("\n".join(site.lines(resources.min_workers * cpus_per_worker)), err=True)
        outcome = run_training(
            spec,
            folder,
            resources,
            Tracking(experiment, tracking_uri, register=register),
            keeping,
            Retries(relaunches=retries),
            Watching(hang_minutes),
        )
    _tell(outcome, json_file)
    if outcome.status != "finished":
        typer.echo(
            f"go on with: eventsam train {recipe} --name {folder.name} --runs {runs} --resume and the same --set"
        )
        raise typer.Exit(PREEMPTED if outcome.status == "preempted" else INTERRUPTED)


def _tell(outcome: "Outcome", json_file: Path | None) -> None:
    """Print how a training ended, and write the same to a JSON file where one was asked for."""
    metrics = {key: round(value, 6) for key, value in outcome.metrics.items()}
    typer.echo(f"{outcome.status} at step {outcome.step}: {json.dumps(metrics)}")
    typer.echo(f"best checkpoint: {outcome.best}")
    write_json(json_file, {"status": outcome.status, "step": outcome.step, "metrics": dict(outcome.metrics),
                           "checkpoint": str(outcome.checkpoint), "best": str(outcome.best)})  # fmt: skip


def changed(recipe: Spec, changes: list[str] | None) -> Spec:
    """Apply `--set path=value` changes; raise ValueError for one without an equals sign."""
    for change in changes or []:
        path, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f"--set {change!r} has no value; write --set path=value")
        recipe = replace(recipe, path, value)
    return recipe


def run_folder(runs: Path, name: str, resume: bool, checkpoints: str | None = None) -> Path:
    """Return the run's folder; refuse to overwrite a run, or to resume one that is not there.

    A run whose checkpoints lie elsewhere goes on in a new folder, too: the machine that held the old one may be gone.
    """
    folder = runs / name
    exists = (folder / "recipe.json").exists()
    if exists and not resume:
        raise ValueError(f"{folder} holds a run already; go on with --resume, or choose another --name")
    if resume and not exists and checkpoints is None:
        raise ValueError(f"--resume: there is no run in {folder}")
    return folder


def write_json(path: Path | None, value: Any) -> None:
    """Write a JSON file where one was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1))


def main() -> None:
    """Run the command line; errors that a person can mend are one line, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        app()
    except (NonFiniteLossError, CheckpointWriteError) as error:
        typer.echo(f"stopped: {error}", err=True)
        sys.exit(FAILED)
    except (ValueError, KeyError, FileNotFoundError, FileExistsError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        typer.echo(f"error: {message}", err=True)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
