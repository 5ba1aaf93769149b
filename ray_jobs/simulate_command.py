"""`eventsam simulate`: a video or a folder of pictures through the event pixel, into any event format."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eventsam.io.convert import writable_format, write_events
from eventsam.provenance import code_hash
from eventsam.simulate.exposure import EventFrame, Exposure, parse_exposure
from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.presets import V2E_NAMES, from_v2e, preset
from eventsam.simulate.randomise import draw_sensor, read_ranges
from eventsam.simulate.upsample import Upsampling
from eventsam.simulate.video import Video, open_video
from eventsam.simulate.video_events import VideoSimulation

PREVIEW_RATE_HZ = 30.0
DEFAULT_EXPOSURE = Exposure(duration_us=33_333)


def _number(name: str, text: str, short: str | None = None) -> Any:
    """An optional number under v2e's name, with underscores as v2e has it or with dashes."""
    dashed = "--" + name.replace("_", "-")
    names = dict.fromkeys([dashed, "--" + name, *([short] if short else [])])
    return typer.Option(*names, help=text)


Number = float | None
Params = Annotated[
    str,
    typer.Option("--dvs-params", "--dvs_params", "--preset", help="Start from clean, noisy or v2e (its defaults)."),
]
GaussianNoise = Annotated[
    bool | None,
    typer.Option("--photoreceptor-noise", "--photoreceptor_noise", help="Shot noise from Gaussian noise."),
]
ExposureWords = Annotated[
    str | None,
    typer.Option("--dvs-exposure", "--dvs_exposure", help="Preview: duration S, count N or area_count N PIXELS."),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the record to this JSON file.")]


def simulate(
    context: typer.Context,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="A video file, or a folder of pictures.")],
    out: Annotated[Path, typer.Option(help="The event file; its suffix names the format where --format does not.")],
    format_name: Annotated[str | None, typer.Option("--format", help="Format to write.")] = None,
    dvs_params: Params = "v2e",
    pos_thres: Annotated[Number, _number("pos_thres", "ON threshold, log units.")] = None,
    neg_thres: Annotated[Number, _number("neg_thres", "OFF threshold, log units.")] = None,
    sigma_thres: Annotated[Number, _number("sigma_thres", "Spread of the thresholds between pixels.")] = None,
    cutoff_hz: Annotated[Number, _number("cutoff_hz", "Photoreceptor cutoff at white; 0: none.")] = None,
    leak_rate_hz: Annotated[Number, _number("leak_rate_hz", "Leak events per pixel and second.")] = None,
    shot_noise_rate_hz: Annotated[
        Number, _number("shot_noise_rate_hz", "Noise events per dark pixel and second.")
    ] = None,
    refractory_period: Annotated[Number, _number("refractory_period", "Dead time in seconds.")] = None,
    leak_jitter_fraction: Annotated[Number, _number("leak_jitter_fraction", "Random part of the leak.")] = None,
    noise_rate_cov_decades: Annotated[Number, _number("noise_rate_cov_decades", "Spread of the leak rate.")] = None,
    photoreceptor_noise: GaussianNoise = None,
    cs_lambda_pixels: Annotated[Number, _number("cs_lambda_pixels", "Centre-surround: width of the surround.")] = None,
    cs_tau_p_ms: Annotated[Number, _number("cs_tau_p_ms", "Centre-surround: its time constant.")] = None,
    scidvs: Annotated[bool | None, typer.Option("--scidvs", help="An adapting high-pass before the detector.")] = None,
    hot_pixel_share: Annotated[float, _number("hot_pixel_share", "Share of pixels that fire by themselves.")] = 0.0,
    hot_pixel_rate_hz: Annotated[float, _number("hot_pixel_rate_hz", "How often they do.")] = 20.0,
    timestamps: Annotated[str, typer.Option(help="interpolated crossings, or v2e's slots.")] = "interpolated",
    dvs_emulator_seed: Annotated[int, _number("dvs_emulator_seed", "Seed of all that is drawn.", "--seed")] = 0,
    input_frame_rate: Annotated[Number, _number("input_frame_rate", "Frames per second of the input.")] = None,
    output_height: Annotated[int | None, _number("output_height", "Rescale the input to this height.")] = None,
    output_width: Annotated[int | None, _number("output_width", "Rescale the input to this width.")] = None,
    timestamp_resolution: Annotated[Number, _number("timestamp_resolution", "Longest step in seconds.")] = None,
    max_step_px: Annotated[float, typer.Option(min=0, help="Largest motion per step; 0 leaves frames alone.")] = 1.0,
    dvs_exposure: ExposureWords = None,
    preview: Annotated[Path | None, typer.Option(help="Write event frames: .mp4, .avi, or a folder of PNG.")] = None,
    randomise: Annotated[Path | None, typer.Option(help="JSON of name to [low, high]: draw the sensor.")] = None,
    json_file: JsonFile = None,
) -> None:
    """Simulate an event camera (the pixel model of v2e) over a video or a folder of pictures.

    Steps between frames are made fine by optical-flow warping, not by a learned interpolation. The sensor and what was
    done are saved beside the events, in OUT.json.
    """
    writable_format(out, format_name)
    source, words = split_inputs(inputs, dvs_exposure)
    given = {name: context.params[name] for name in V2E_NAMES}
    own = {"timestamps": timestamps, "hot_pixel_share": hot_pixel_share, "hot_pixel_rate_hz": hot_pixel_rate_hz}
    model, drawn = sensor(dvs_params, given, own, randomise, dvs_emulator_seed)
    video = open_video(Path(source), input_frame_rate, _size(output_height, output_width))
    simulation = VideoSimulation(video, model, Upsampling(max_step_px, timestamp_resolution))
    exposure = parse_exposure(words) if words else DEFAULT_EXPOSURE
    with progress_bar(video) as progress, preview_writer(preview) as show:
        chunks = simulation.chunks(exposure, show, progress)
        write_events(out, chunks, video.height, video.width, format_name)
    record = simulation.record() | {"randomised": drawn, "code": code_hash(), "events": str(out)}
    for path in (out.with_name(out.name + ".json"), json_file):
        if path is not None:
            path.write_text(json.dumps(record, indent=1))
    typer.echo(
        f"{out}: {simulation.num_events:,} events ({simulation.num_on:,} ON) of {video.height}x{video.width} "
        f"in {simulation.duration_s:.3f} s, {simulation.num_frames} steps; sensor in {out.name}.json"
    )


def _size(height: int | None, width: int | None) -> tuple[int, int] | None:
    if (height is None) != (width is None):
        raise ValueError("give --output-height and --output-width together, or neither")
    return (height, width) if height is not None and width is not None else None


def split_inputs(inputs: list[str], dvs_exposure: str | None) -> tuple[str, list[str]]:
    """Tell the input from the numbers that v2e writes after `--dvs_exposure MODE`; return it and the exposure's words.

    Raises ValueError where not exactly one input is left.
    """
    words = (dvs_exposure or "").replace(",", " ").split()
    sources = list(inputs)
    if len(words) == 1:
        words += [value for value in inputs if _is_number(value)]
        sources = [value for value in inputs if not _is_number(value)]
    if len(sources) != 1:
        raise ValueError(f"one INPUT is simulated at a time, got {len(sources)}: {' '.join(sources) or 'none'}")
    return sources[0], words


def sensor(
    start: str, parameters: dict[str, Any], own: dict[str, Any], ranges: Path | None, seed: int
) -> tuple[PixelModel, dict[str, Any] | None]:
    """The sensor: a preset, changed by what is given, then by what is drawn; and the record of the draw."""
    model = replace(from_v2e(parameters, preset(start)), **own)
    if ranges is None:
        return model, None
    drawn = draw_sensor(read_ranges(ranges), model, seed)
    return drawn.model, drawn.record


@contextmanager
def progress_bar(video: Video) -> Iterator[Callable[[float], None]]:
    """Show how much of the video is done; without a declared length, only the seconds."""
    columns = (TextColumn("simulating"), BarColumn(), TextColumn("{task.completed:.1f} s"), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        total = (video.num_frames - 1) / video.frame_rate_hz if video.num_frames else None
        bar = progress.add_task("", total=total)
        yield lambda seconds: progress.update(bar, completed=seconds)


@contextmanager
def preview_writer(path: Path | None) -> Iterator[Callable[[EventFrame], None] | None]:
    """Write event frames to a video or a folder of PNG; yield None where no preview is asked for."""
    if path is None:
        yield None
    elif path.suffix.lower() in (".mp4", ".avi"):
        writer = _VideoPreview(path)
        try:
            yield writer.write
        finally:
            writer.close()
    elif path.suffix:
        raise ValueError(f"--preview {path}: allowed are .mp4, .avi, or a folder (no suffix)")
    else:
        path.mkdir(parents=True, exist_ok=True)
        yield lambda frame: _write_png(path / f"{frame.t0_us:012d}us.png", frame)


class _VideoPreview:
    """Event frames as a video of 30 frames per second, opened when the first frame tells the size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: EventFrame) -> None:
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*("mp4v" if self._path.suffix.lower() == ".mp4" else "MJPG"))
            height, width = frame.image.shape
            self._writer = cv2.VideoWriter(str(self._path), codec, PREVIEW_RATE_HZ, (width, height))
            if not self._writer.isOpened():
                raise ValueError(f"{self._path}: OpenCV cannot write this video; try .avi or a folder")
        self._writer.write(cv2.cvtColor(frame.image, cv2.COLOR_GRAY2BGR))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()


def _write_png(path: Path, frame: EventFrame) -> None:
    if not cv2.imwrite(str(path), frame.image):
        raise ValueError(f"{path}: cannot be written")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return not Path(word).exists()
