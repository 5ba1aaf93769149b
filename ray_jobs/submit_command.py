"""`eventsam submit -- COMMAND` and `eventsam jobs`: run a command of this project on a Ray cluster and watch it."""

import json
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from eventsam.tracking.card import masked

TRACKING = "MLFLOW_TRACKING_URI"

jobs_app = typer.Typer(help="Jobs that were submitted to a cluster.", no_args_is_help=True)

Address = Annotated[
    str | None,
    typer.Option(
        help="The dashboard, as http://HOST:8265; default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, this machine."
    ),
]
AllowOpen = Annotated[
    bool, typer.Option("--allow-open-dashboard", help="Submit also where anybody beyond this machine could.")
]
Exclude = Annotated[list[str] | None, typer.Option(help="Leave out what matches, as a line of .gitignore would.")]
Environment = Annotated[
    list[str] | None,
    typer.Option("--env", help="NAME=VALUE for the job's processes; MLFLOW_TRACKING_URI goes along where it is set."),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's name, as `eventsam submit` printed it.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write what is known of the job to this file.")]


def submit(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="As after `eventsam`: train fuse ...")],
    address: Address = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the log and end as the job ends.")] = True,
    allow_open_dashboard: AllowOpen = False,
    name: Annotated[str | None, typer.Option(help="The job's name; default: made of the command and the time.")] = None,
    working_dir: Annotated[Path, typer.Option(help="The project's folder: what the job carries.")] = Path(),
    installed: Annotated[
        bool, typer.Option("--installed", help="Carry nothing: the project is installed on the nodes.")
    ] = False,
    exclude: Exclude = None,
    max_upload_mib: Annotated[float, typer.Option(min=0.0, help="Refuse to upload more than this.")] = 100.0,
    packages: Annotated[
        str, typer.Option(help="Pinned versions: check compares them on the cluster, install has Ray install; trust.")
    ] = "check",
    environment: Environment = None,
    python: Annotated[str, typer.Option(help="The nodes' Python.")] = "python",
    entrypoint_cpus: Annotated[float, typer.Option(min=0.0, help="CPUs that the command itself takes.")] = 0.0,
    json_file: JsonFile = None,
) -> None:
    """Run a command of this project as a job on a Ray cluster; its exit code is this command's.

    Refuses a dashboard that others can use without authentication, and an upload that is too large, before anything is
    sent. Ctrl-C leaves the job running.
    """
    from ray_jobs import dashboard, pinned
    from ray_jobs.__main__ import changed
    from ray_jobs.package import MIB, check_size, survey
    from ray_jobs.submit import Job, check_command
    from ray_jobs.submit import submit as submit_job

    package = None if installed else survey(_project(working_dir), exclude or ())
    pins = pinned.pins(None if installed else working_dir)
    job = Job(tuple(command), package, pins, packages, _variables(environment), python, name, entrypoint_cpus)
    check_command(context.find_root().command, command, package, changed)
    if package is not None:
        check_size(package, max_upload_mib)
    found = dashboard.probe(dashboard.dashboard_address(address))
    for way in dashboard.refuse_open(found, allow_open_dashboard):
        typer.echo(f"warning: {found.address} runs anybody's code: {way}", err=True)
    if dashboard.token_travels_readable(found):
        typer.echo(f"warning: the token travels readable to {found.address}: forward the port, or use https", err=True)
    client = dashboard.jobs_client(found)
    if package is not None:
        typer.echo(f"uploading {package.num_bytes / MIB:.1f} MiB in {len(package.files)} files", err=True)
    job_id = submit_job(client, job, authenticated=not found.open)
    typer.echo(f"job: {job_id}" + ("" if wait else f" (eventsam jobs logs {job_id} --follow)"))
    if wait:
        _follow(client, job_id, json_file)
    else:
        _write_json(json_file, {"job": job_id, "address": found.address})


@jobs_app.command()
def status(
    job: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One job; default: all that the cluster knows.")
    ] = None,
    address: Address = None,
    json_file: JsonFile = None,
) -> None:
    """Show how a job stands, or all of them."""
    from ray_jobs.submit import details_of

    client = _client(address)
    if job is not None:
        details = details_of(client, job)
        typer.echo("\n".join(f"{name}: {value}" for name, value in _facts(details).items() if value is not None))
        _write_json(json_file, _facts(details))
        return
    rows = [_facts(details) for details in client.list_jobs() if details.submission_id]
    for row in sorted(rows, key=lambda row: str(row["started"])):
        typer.echo(f"{row['status']:<10} {row['started'] or '-':<20} {row['job']}  {row['command']}")
    typer.echo(f"{len(rows)} jobs")
    _write_json(json_file, rows)


@jobs_app.command()
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on to the job's end, and end as it ends.")] = False,
    address: Address = None,
) -> None:
    """Print what a job has written."""
    from ray_jobs.submit import details_of

    client = _client(address)
    details_of(client, job)
    if follow:
        _follow(client, job, None)
    else:
        typer.echo(client.get_job_logs(job), nl=False)


@jobs_app.command()
def stop(
    job: JobId,
    wait_s: Annotated[float, typer.Option("--wait-s", min=0.0, help="How long to wait for its end.")] = 90.0,
    address: Address = None,
) -> None:
    """Ask a job to save and end; Ray kills it after a minute."""
    from ray_jobs.submit import stop as stop_job

    details = stop_job(_client(address), job, wait_s)
    typer.echo(f"{job}: {_facts(details)['status']}")


def _follow(client: Any, job_id: str, json_file: Path | None) -> None:
    from ray_jobs.submit import Follower, exit_code

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        details = Follower(client, job_id, write)()
    except KeyboardInterrupt:
        typer.echo(
            f"\n{job_id} goes on; watch it: eventsam jobs logs {job_id} --follow; end it: eventsam jobs stop {job_id}",
            err=True,
        )
        raise typer.Exit(130) from None
    except ConnectionError as error:
        typer.echo(f"\n{error}", err=True)
        raise typer.Exit(1) from None
    code = exit_code(details)
    typer.echo(f"{job_id}: {_facts(details)['status']} (exit code {code})", err=True)
    if details.driver_exit_code is None and code == 1:
        typer.echo(f"it never started: {details.message}", err=True)
    if details.driver_exit_code == 127:
        typer.echo("the shell found no such program: name the nodes' Python with --python", err=True)
    _write_json(json_file, {**_facts(details), "exit_code": code})
    if code:
        raise typer.Exit(code)


def _client(address: str | None) -> Any:
    from ray_jobs import dashboard

    return dashboard.jobs_client(dashboard.probe(dashboard.dashboard_address(address)))


def _facts(details: Any) -> dict[str, Any]:
    """What people ask of a job: JSON-ready."""
    metadata = details.metadata or {}
    return {
        "job": details.submission_id,
        "status": str(getattr(details.status, "value", details.status)),
        "command": metadata.get("command", details.entrypoint),
        "started": _time(details.start_time),
        "ended": _time(details.end_time),
        "exit_code": details.driver_exit_code,
        "code_hash": metadata.get("code_hash"),
        "message": (details.message or "").partition("\n")[0] or None,
    }


def _time(milliseconds: int | None) -> str | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if milliseconds else None


def _project(folder: Path) -> Path:
    """Return the folder, which must hold the project: the job runs `python -m ray_jobs` in it."""
    if not (folder / "ray_jobs" / "__main__.py").exists():
        raise ValueError(
            f"{folder.absolute()} does not hold ray_jobs/__main__.py, which the job runs: submit from a clone of the "
            "project, name one with --working-dir, or say --installed where the nodes have it"
        )
    return folder


def _variables(assignments: list[str] | None) -> dict[str, str]:
    """Return what --env says, and the tracking server that commands here would use, so that the job does too.

    One with a password stays here: whoever sees the cluster's dashboard sees a job's variables.
    """
    for assignment in assignments or []:
        if "=" not in assignment.strip("="):
            raise ValueError(f"--env {assignment!r} has no value; write --env {shlex.quote(assignment)}=VALUE")
    uri = os.environ.get(TRACKING, "")
    known = {TRACKING: uri} if uri.startswith(("http://", "https://")) and masked(uri) == uri else {}
    return known | dict(assignment.split("=", 1) for assignment in assignments or [])


def _write_json(path: Path | None, value: Any) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1))
