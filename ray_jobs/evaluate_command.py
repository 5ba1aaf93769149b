"""`eventsam evaluate` and `eventsam report`: a trained run's numbers on held-out samples, and pages of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ray_jobs.ladder import Extras

Run = Annotated[Path, typer.Argument(help="A run's folder or one of its checkpoints.")]
Control = Annotated[
    Path | None, typer.Option(help="The control's run: compare the inputs of the demo, the control among them.")
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Compare this input (repeatable): sharp_rgb, blurry_rgb, events_blurry, edi, control, events_only.",
    ),
]
Exposures = Annotated[
    list[float] | None, typer.Option(help="Render the split's objects again at this exposure (repeatable).")
]
Detail = Annotated[
    bool, typer.Option("--detail", help="All shape metrics: solid vIoU, distances, normals, three F-scores.")
]
Alignments = Annotated[
    list[str] | None, typer.Option(help="Alignment of --detail (repeatable): none, centroid_scale, icp.")
]
By = Annotated[
    list[str] | None, typer.Option(help="Tables by object, category or seen (repeatable); default: what is known.")
]
Saved = Annotated[Path | None, typer.Option(help="Keep every predicted shape in this folder: meshes and safetensors.")]
Attention = Annotated[int, typer.Option(min=0, help="Samples whose teacher's and student's attention is drawn.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the HTML report, its data and the numbers of every sample.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write what is printed to this JSON file.")]


def evaluate(
    run: Run,
    control: Control = None,
    split: Annotated[str, typer.Option(help="The split to evaluate.")] = "test",
    root: Annotated[Path | None, typer.Option(help="Another catalog of the same dataset.")] = None,
    inputs: Inputs = None,
    exposure_ms: Exposures = None,
    detail: Detail = False,
    align: Alignments = None,
    uni3d: Annotated[Path | None, typer.Option(help="Uni3D weights (safetensors): add its similarity.")] = None,
    clip: Annotated[Path | None, typer.Option(help="CLIP weights (safetensors) that go with --uni3d.")] = None,
    uni3d_size: Annotated[str, typer.Option(help="tiny, small, base, large or giant.")] = "base",
    by: By = None,
    save_predictions: Saved = None,
    mesh_format: Annotated[str, typer.Option(help="ply (z up) or glb (y up).")] = "ply",
    attention: Attention = 0,
    out: Out = None,
    workers: Annotated[int, typer.Option(min=0, help="Ray Train workers; 0 evaluates in this process.")] = 1,
    cpus_per_worker: Annotated[float, typer.Option(min=0.01, help="Logical CPUs per worker.")] = 1.0,
    gpus_per_worker: Annotated[float, typer.Option(min=0.0, help="GPUs per worker.")] = 0.0,
    threads: Annotated[int, typer.Option(min=0, help="Torch threads per worker; 0 shares this machine's cores.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Evaluate a trained run on held-out samples, with intervals; with --control or --input, climb the blur ladder."""
    from eventsam.catalog import absolute
    from eventsam.report.summary import result_json, table_text
    from ray_jobs.__main__ import write_json
    from ray_jobs.cluster import Resources
    from ray_jobs.evaluate import Evaluation, evaluate_run, write_evaluation
    from ray_jobs.tracked import keep_evaluation

    if attention and out is None:
        raise ValueError("--attention draws into --out DIR, which is missing")
    extras = _extras(detail, align, (uni3d, clip, uni3d_size), save_predictions, mesh_format)
    tables = tuple(by) if by else None
    exposures = tuple(exposure_ms or ())
    wanted = Evaluation(run, control, split, root, tuple(inputs or ()), exposures, extras, tables, attention)
    report, measured = evaluate_run(wanted, Resources(workers, cpus_per_worker, gpus_per_worker, threads))
    typer.echo(table_text(report))
    if out is not None:
        typer.echo(f"report: {write_evaluation(absolute(out), report, measured)}")
    if root is None and not exposure_ms and not (run / "state.json").exists():
        # The run itself, on its own catalog: neither one of its checkpoints nor other samples speak for it.
        keep_evaluation(absolute(run), report)
    write_json(json_file, result_json(report))


def _extras(
    detail: bool,
    align: list[str] | None,
    uni3d: tuple[Path | None, Path | None, str],
    save_predictions: Path | None,
    mesh_format: str,
) -> "Extras":
    """Return what is measured and kept beyond the ladder; `uni3d` is its weights, CLIP's, and its size."""
    from eventsam.catalog import absolute
    from eventsam.metrics.shape import ShapeProtocol
    from eventsam.models.clip_images import check_installed
    from eventsam.predictions import Predictions
    from ray_jobs.ladder import Extras

    weights, clip, size = uni3d
    if (weights is None) != (clip is None):
        raise ValueError("--uni3d and --clip go together: shapes and pictures are compared")
    if weights is not None:
        check_installed()
    return Extras(
        protocol=ShapeProtocol(alignments=tuple(align or ["none"])) if detail or align else None,  # type: ignore[arg-type]
        uni3d=(str(absolute(weights)), str(absolute(clip)), size) if weights and clip else None,
        predictions=Predictions(str(absolute(save_predictions)), mesh_format) if save_predictions else None,  # type: ignore[arg-type]
    )


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(help="A demo's, an evaluation's or a run's folder; several are merged into one table."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write the HTML; default: report.html in the folder.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Write the offline HTML report of a finished demo, evaluation or run, or of several seeds together."""
    from eventsam.report.html import write_report
    from eventsam.report.summary import result_json, table_text
    from ray_jobs.__main__ import write_json
    from ray_jobs.evaluate import merged, report_of

    if len(folders) > 1:
        if out is None:
            raise ValueError("--out FILE says where the page of several folders goes; it is missing")
        data = merged(folders, " ".join(["eventsam report", *map(str, folders)]))
    else:
        data = report_of(folders[0])
    html = out or folders[0] / "report.html"
    write_report(html, data)
    typer.echo(table_text(data))
    typer.echo(f"report: {html}")
    write_json(json_file, result_json(data))
