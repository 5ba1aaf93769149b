"""`eventsam compare RUN RUN...`: runs side by side, offline."""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

RunsToCompare = Annotated[
    list[Path] | None,
    typer.Argument(metavar="RUN...", help="Folders: runs', one of many runs, sweeps', demos'."),
]
Experiment = Annotated[str | None, typer.Option(help="Compare all runs of this MLflow experiment instead.")]
Runs = Annotated[Path, typer.Option(help="Folder of runs whose own MLflow store holds the experiment.")]
TrackingUri = Annotated[
    str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI of the experiment.")
]
Out = Annotated[Path | None, typer.Option(help="Also write the table: FILE.html, FILE.csv or FILE.json.")]

KINDS = (".html", ".csv", ".json")


def compare_runs(
    run: RunsToCompare = None,
    experiment: Experiment = None,
    runs: Runs = Path("runs"),
    tracking_uri: TrackingUri = None,
    out: Out = None,
) -> None:
    """Print runs side by side: differing parameters first, then best metrics, with intervals where there are any."""
    from eventsam.report.compare import compare
    from eventsam.report.compare_page import write_comparison
    from eventsam.report.compare_table import compare_csv, compare_json, compare_text

    if bool(run) == (experiment is not None):
        raise ValueError("name runs' folders, or an --experiment: one of the two")
    if out is not None and out.suffix not in KINDS:
        raise ValueError(f"--out {out}: its ending says what is written (allowed: {', '.join(KINDS)})")
    comparison = compare(_of_folders(run) if run else _of_experiment(str(experiment), runs, tracking_uri))
    typer.echo(compare_text(comparison, _width()))
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".html":
        write_comparison(out, comparison, f"Experiment {experiment}" if experiment else "Runs compared")
    elif out.suffix == ".csv":
        out.write_text(compare_csv(comparison))
    else:
        out.write_text(json.dumps(compare_json(comparison), indent=1))
    typer.echo(f"written: {out}")


def _of_folders(paths: list[Path]) -> list[Any]:
    from eventsam.report.compare_folders import run_folders, run_of_folder

    folders = list(dict.fromkeys(folder.absolute() for path in paths for folder in run_folders(path)))
    names = [folder.name for folder in folders]
    # Two runs of one name are told apart by the folder above.
    return [
        run_of_folder(folder, folder.name if names.count(folder.name) == 1 else f"{folder.parent.name}/{folder.name}")
        for folder in folders
    ]


def _of_experiment(name: str, runs: Path, uri: str | None) -> list[Any]:
    from eventsam.report.compare_store import runs_of_experiment
    from eventsam.tracking.card import check_uri, default_uri

    if uri is None and not (runs / "mlflow.db").exists():
        raise FileNotFoundError(f"{runs} has no MLflow store (mlflow.db): give --runs or --tracking-uri")
    return runs_of_experiment(check_uri(uri or default_uri(runs.absolute())), name)


def _width() -> int:
    return max(80, shutil.get_terminal_size((110, 24)).columns)
