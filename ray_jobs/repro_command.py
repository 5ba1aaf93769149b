"""`eventsam repro BUNDLE`: the failing step once more, on this machine's CPU."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

BundleFolder = Annotated[Path, typer.Argument(help="A failure bundle, or a run's folder for its newest one.")]
Root = Annotated[Path | None, typer.Option(help="The catalog, where it is not where the run had it.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write what is printed to this JSON file.")]
NUM_SHOWN = 12


def repro(bundle: BundleFolder, root: Root = None, json_file: JsonFile = None) -> None:
    """Compute the step of a failure bundle again, and say whether it fails again, where first, and on which samples.

    Exit codes: 0 it failed again, 1 it did not.
    """
    from eventsam.faults.bundle import newest_bundle, read_bundle
    from eventsam.replay.replay import replay
    from ray_jobs.repro import recipe_builder, training_loader

    folder = bundle if (bundle / "bundle.json").exists() else newest_bundle(bundle) or bundle
    read = read_bundle(folder)
    build_recipe, loader, why_not = recipe_builder(read), *training_loader(read, root)
    if why_not:
        typer.echo(f"the catalog is not at hand ({why_not}): using the batch that the bundle keeps", err=True)
    result = replay(read, build_recipe, loader)
    record = _record(result)
    typer.echo(_text(record))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(record, indent=1))
    if not result.reproduced:
        raise typer.Exit(1)


def _record(result: Any) -> dict[str, Any]:
    bundle, findings = result.bundle, result.findings
    return {
        "bundle": str(bundle.folder),
        "kind": bundle.kind,
        "step": bundle.step,
        "message": bundle.message,
        "workers": bundle.world_size,
        "workers_kept": len(bundle.shares),
        "reproduced": result.reproduced,
        "losses": _plain(findings.losses),
        "loss_by_sample": _plain(findings.samples),
        "first_output_not_finite": findings.first_bad,
        "error": findings.error,
        "gradient_norm": _number(findings.gradient_norm),
        "gradient_norm_then": _number(bundle.shares[0].numbers.get("gradient_norm", math.nan)),
        "gradient_norms": _plain(findings.gradient_norms),
        "data_as_then": result.data_as_then,
        "weights_not_finite": list(result.bad_weights),
        "weights_not_finite_since_step": result.bad_since,
    }


def _plain(numbers: dict[str, float]) -> dict[str, Any]:
    return {name: _number(value) for name, value in numbers.items()}


def _number(value: float) -> float | str:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else str(value)


def _text(record: dict[str, Any]) -> str:
    lines = [f"step {record['step']} ({record['kind']}): {record['message'].splitlines()[0][:300]}"]
    if record["workers_kept"] < record["workers"]:
        kept, workers = record["workers_kept"], record["workers"]
        lines.append(f"the bundle holds the batches of {kept} of {workers} workers, who alone failed or could tell")
    lines += ["", "loss by part"] + [f"  {name:<28} {_shown(value)}" for name, value in record["losses"].items()]
    samples = sorted(record["loss_by_sample"].items(), key=lambda item: -_badness(item[1]))
    lines += ["loss by sample, worst first"] + [f"  {name:<44} {_shown(value)}" for name, value in samples[:NUM_SHOWN]]
    if len(samples) > NUM_SHOWN:
        lines.append(f"  and {len(samples) - NUM_SHOWN} more")
    lines.append(f"first output that is not finite: {record['first_output_not_finite'] or 'none'}")
    groups = sorted(record["gradient_norms"].items(), key=lambda item: -_badness(item[1]))
    lines += [f"gradient norm {_shown(record['gradient_norm'])}, then {_shown(record['gradient_norm_then'])}; by group"]
    lines += [f"  {name:<44} {_shown(value)}" for name, value in groups[:NUM_SHOWN]]
    if record["error"]:
        lines.append(f"error: {record['error']}")
    if record["data_as_then"] is not None:
        lines.append(f"samples read now are those of the run: {'yes' if record['data_as_then'] else 'NO'}")
    if record["weights_not_finite"]:
        names = record["weights_not_finite"]
        since = record["weights_not_finite_since_step"]
        lines.append(
            f"{len(names)} trained tensors were not finite before the step ({', '.join(names[:3])}, ...)"
            + (f": since the update of step {since}" if since is not None else "")
        )
    lines.append(f"reproduced: {'yes' if record['reproduced'] else 'no'}")
    return "\n".join(lines)


def _badness(value: float | str) -> float:
    return math.inf if isinstance(value, str) else value


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
