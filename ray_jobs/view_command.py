"""`eventsam view FILE`: a recording as a strip, a video and a plot of its event rates."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(help="A recording: file or folder, of any format that can be opened.")]
Out = Annotated[
    Path | None,
    typer.Option(help="x.png: a strip of windows; x.mp4: a video; a folder: both and the rates. Default: FILE_view."),
]
Start = Annotated[float | None, typer.Option(min=0.0, help="Seconds from the first event.")]
End = Annotated[float | None, typer.Option(min=0.0, help="Seconds from the first event.")]
WindowMs = Annotated[float, typer.Option(help="Length of a window in milliseconds.")]
StrideMs = Annotated[float | None, typer.Option(help="From one window to the next; default: end to end.")]
RepresentationName = Annotated[
    str,
    typer.Option("--representation", help="tencode, voxel_grid, histogram, ...: a file of eventsam/representations."),
]
Rate = Annotated[Path | None, typer.Option(help="Also plot the event rates to this PNG.")]
NumWindows = Annotated[int, typer.Option("--windows", min=1, help="Windows in the strip, spread over the span.")]
FramesPerSecond = Annotated[float, typer.Option("--fps", min=0.1, help="Windows shown per second of video.")]
Height = Annotated[int | None, typer.Option(min=1, help="Sensor rows, for files that do not state them.")]
Width = Annotated[int | None, typer.Option(min=1, help="Sensor columns, for files that do not state them.")]


def view(
    file: File,
    out: Out = None,
    start: Start = None,
    end: End = None,
    window_ms: WindowMs = 20.0,
    stride_ms: StrideMs = None,
    representation: RepresentationName = "tencode",
    rate: Rate = None,
    num_windows: NumWindows = 6,
    frames_per_second: FramesPerSecond = 25.0,
    height: Height = None,
    width: Width = None,
) -> None:
    """Show a recording: windows of events beside camera frames as a strip or a video, and event rates over time."""
    from eventsam.io.detect import open_recording
    from eventsam.io.recording import OpenOptions
    from eventsam.views.named_representation import named_representation
    from eventsam.views.span import shown_span, window_starts
    from eventsam.windows import Window
    from ray_jobs.write_views import Shown, check_out, write_views

    built = named_representation(representation)
    check_out(out)
    recording = open_recording(file, OpenOptions(height=height, width=width))
    span = shown_span(recording, start, end)
    starts = window_starts(span, window_ms, stride_ms)
    shown = Shown(recording, built, representation, span, starts, Window(window_ms).length_us)
    write_views(shown, out, rate, num_windows, frames_per_second)
