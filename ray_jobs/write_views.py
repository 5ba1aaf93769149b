"""The files of `eventsam view`, written window by window behind a progress bar."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import track

from eventsam.io.recording import Recording
from eventsam.representations import Representation
from eventsam.views.panels import side_by_side, strip
from eventsam.views.pictures import pictures
from eventsam.views.rates import count_rates, plot_rates
from eventsam.views.span import Span, spread
from eventsam.views.video import write_video

T = TypeVar("T")

FILE_KINDS = (".png", ".mp4")
"""What `--out` may name: a strip, a video."""


@dataclass(frozen=True)
class Shown:
    """What is shown of a recording, and how."""

    recording: Recording
    representation: Representation
    name: str
    span: Span
    starts: range
    length: int


def check_out(out: Path | None) -> None:
    """Raise ValueError for a place that is neither a folder nor a file of a kind that is written."""
    if out is not None and out.suffix.lower() not in ("", *FILE_KINDS) and not out.is_dir():
        raise ValueError(f"--out {out}: ends in {out.suffix!r}, allowed: .png (strip), .mp4 (video), or a folder")


def write_views(shown: Shown, out: Path | None, rate: Path | None, num_windows: int, frames_per_second: float) -> None:
    """Write the strip or the video that `out` names, or both and the rates into a folder; `rate` is one more plot.

    Without `out` the folder is the recording's name and `_view`, in the current one.
    """
    kind = "" if out is None or out.is_dir() else out.suffix.lower()
    source = shown.recording.path.resolve()
    path = Path(f"{source.name if source.is_dir() else source.stem}_view") if out is None else out
    if not kind:
        rate = path / "rates.png" if rate is None else rate
    if kind in ("", ".png"):
        write_strip(shown, path if kind else path / "strip.png", num_windows)
    if kind in ("", ".mp4"):
        write_film(shown, path if kind else path / "video.mp4", frames_per_second)
    if rate is not None:
        write_rates(shown, rate)


def write_strip(shown: Shown, path: Path, num_windows: int) -> None:
    """Write a PNG of windows spread over the span."""
    chosen = spread(shown.starts, num_windows)
    images = list(pictures(shown.recording, shown.representation, watched(chosen, "strip"), shown.length))
    remark = f"{shown.name}, windows of {shown.length / 1000:g} ms"
    write_bytes(path, strip(images, shown.span, shown.recording.path.name, remark))
    typer.echo(f"strip: {path} ({len(chosen)} of {len(shown.starts):,} windows)")


def write_film(shown: Shown, path: Path, frames_per_second: float) -> None:
    """Write an mp4 of all windows."""
    speed = shown.starts.step / 1e6 * frames_per_second
    remark = f"speed x{speed:.3g}"
    shots = pictures(shown.recording, shown.representation, watched(shown.starts, "video"), shown.length)
    images = (side_by_side(shot, shown.span, shown.name, remark) for shot in shots)
    number = write_video(path, images, frames_per_second)
    typer.echo(f"video: {path} ({number:,} windows, {number / frames_per_second:.1f} s, {remark})")


def write_rates(shown: Shown, path: Path) -> None:
    """Write the plot of event rates."""
    rates = count_rates(shown.recording, shown.span, through=lambda slices: watched(slices, "rates"))
    write_bytes(path, plot_rates(rates, shown.recording.path.name))
    typer.echo(f"rates: {path}")


def watched(steps: Sequence[T], what: str) -> Iterable[T]:
    """Return the steps behind a progress bar; a single step needs none."""
    return track(steps, what, total=len(steps), transient=True, disable=len(steps) < 2, console=Console(stderr=True))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
