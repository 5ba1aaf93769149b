"""`eventsam info` and `eventsam convert`: what a recording holds, and its events in another format."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eventsam.io.convert import convert, writable_format
from eventsam.io.detect import formats, open_recording
from eventsam.io.info import file_info
from eventsam.io.recording import OpenOptions, Recording

File = Annotated[Path, typer.Argument(help="A recording: file or folder, of any format that `eventsam formats` lists.")]
Height = Annotated[int | None, typer.Option(min=1, help="Sensor rows, for files that do not state them.")]
Width = Annotated[int | None, typer.Option(min=1, help="Sensor columns, for files that do not state them.")]
Stream = Annotated[str | None, typer.Option(help="Which event stream, for files with several (topic, camera, group).")]
Backward = Annotated[str, typer.Option(help="Where time goes back: refuse, sort or running_maximum.")]
Outside = Annotated[str, typer.Option(help="Events outside the sensor: refuse or drop.")]
FormatName = Annotated[str | None, typer.Option(help="Format of FILE; default: by its content.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write what is printed to this JSON file.")]


def info_command(
    file: File,
    height: Height = None,
    width: Width = None,
    stream: Stream = None,
    backward: Backward = "refuse",
    outside: Outside = "refuse",
    format_name: FormatName = None,
    json_file: JsonFile = None,
) -> None:
    """Show what a recording holds: format, sensor, counts, span and the hash of its events."""
    summary = file_info(file, stated(height, width, stream, backward, outside), format_name)
    for name, value in summary.items():
        typer.echo(f"{name}: {value}")
    if json_file is not None:
        json_file.write_text(json.dumps(summary, indent=1))


def convert_command(
    file: File,
    out: Annotated[Path, typer.Argument(help="The new file; its suffix names the format where --to does not.")],
    to: Annotated[str | None, typer.Option(help="Format to write.")] = None,
    height: Height = None,
    width: Width = None,
    stream: Stream = None,
    backward: Backward = "refuse",
    outside: Outside = "refuse",
    format_name: FormatName = None,
) -> None:
    """Write a recording's events in another format: nothing of (x, y, t, p) is lost."""
    # A wrong name must not cost the time that a large recording takes to open.
    writable_format(out, to)
    recording = opened(file, height, width, stream, backward, outside, format_name)
    columns = (TextColumn("converting"), BarColumn(), TextColumn("{task.completed:,} events"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=recording.num_events)
        done = convert(recording, out, to, progress=lambda number: progress.update(bar, completed=number))
    typer.echo(f"{done.path}: {done.num_events:,} events, {formats()[done.format].title}")
    faults = recording.faults() if (backward, outside) != ("refuse", "refuse") else None
    if faults is not None:
        typer.echo(f"mended: {faults.num_backward} backward times, {faults.num_outside} events outside the sensor")
    left = {"frames": done.num_frames_left, "IMU samples": done.num_imu_left, "triggers": done.num_triggers_left}
    if any(left.values()):
        typer.echo("left behind: " + ", ".join(f"{number} {name}" for name, number in left.items() if number))


def opened(
    file: Path,
    height: int | None,
    width: int | None,
    stream: str | None = None,
    backward: str = "refuse",
    outside: str = "refuse",
    format_name: str | None = None,
) -> Recording:
    """Open a recording as the command line states it; raise ValueError for what is wrong with it."""
    return open_recording(file, stated(height, width, stream, backward, outside), format_name)


def stated(
    height: int | None, width: int | None, stream: str | None = None, backward: str = "refuse", outside: str = "refuse"
) -> OpenOptions:
    """Return the options of the command line; raise ValueError for what is not allowed."""
    return OpenOptions(height, width, stream, backward, outside)  # type: ignore[arg-type]


def formats_command() -> None:
    """List the formats that are read, and which of them are written."""
    for entry in formats().values():
        suffixes = f" ({', '.join(entry.suffixes)})" if entry.suffixes else ""
        typer.echo(f"{entry.name}: {entry.title}{suffixes if entry.write else ', read only'}")
