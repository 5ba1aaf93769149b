"""`eventsam track RUN`: what a run still owes its MLflow server is sent, or sent to another one."""

from pathlib import Path
from typing import Annotated

import typer

RunsToTrack = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs' folders, or folders of runs.")]
TrackingUri = Annotated[
    str | None, typer.Option(help="Send everything to this server; default: where each run is tracked.")
]
Register = Annotated[
    str | None, typer.Option(metavar="NAME", help="Make the run's best checkpoint a version of this model.")
]
Check = Annotated[bool, typer.Option("--check", help="Only say what waits.")]


def track(run: RunsToTrack, tracking_uri: TrackingUri = None, register: Register = None, check: Check = False) -> None:
    """Send what MLflow has not taken of runs, in order; exit code 1 if anything still waits."""
    from eventsam.tasks.trained import resolve
    from eventsam.tracking.card import check_uri, masked, read_card
    from eventsam.tracking.catch_up import catch_up, tracked_folders
    from eventsam.tracking.mark import waiting
    from eventsam.tracking.outbox import Outbox

    folders = [folder for path in run for folder in tracked_folders(path.absolute())]
    if not folders:
        raise FileNotFoundError(f"{', '.join(map(str, run))}: no tracked run is there (tracking/card.json is missing)")
    if register is not None and len(folders) != 1:
        raise ValueError(f"--register {register} takes one run, not {len(folders)}")
    if tracking_uri is not None:
        check_uri(tracking_uri)
    owing = 0
    for folder in folders:
        if register is not None:
            Outbox(folder).version(register, resolve(folder).absolute())
        card = read_card(folder)
        target = tracking_uri or (card.uri if card else "")
        if check:
            left = waiting(folder, target)
            typer.echo(f"{folder.name}: {left or 'nothing'} waiting for {masked(target)}")
        else:
            caught = catch_up(folder, tracking_uri)
            left = caught.left
            typer.echo(f"{folder.name}: {_outcome(caught.before, left, caught.run_id, caught.reason, masked(target))}")
        owing += bool(left)
    if owing:
        raise typer.Exit(1)


def _outcome(before: object, left: object, run_id: str | None, reason: str, uri: str) -> str:
    if left:
        return f"{left} still wait for {uri}: {reason}"
    return f"{before if before else 'nothing was waiting;'} {'sent' if before else 'all is'} at {uri}, run {run_id}"
