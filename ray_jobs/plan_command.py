"""`eventsam plan RECIPE`: what a run will take, before anything is started."""

from pathlib import Path
from typing import Annotated, Any

import typer

from eventsam.recipe import load_recipe, recipe_names

Changes = Annotated[list[str] | None, typer.Option("--set", help="Change a recipe value, as for train.")]
ClusterFile = Annotated[
    Path | None, typer.Option("--cluster", help="A file for `ray up`: its GPUs, all in use unless --workers says.")
]
Workers = Annotated[
    str | None,
    typer.Option(help="Workers: a number, or a range as in 1-8, planned at its most; default: the cluster's GPUs."),
]
GpusPerWorker = Annotated[float | None, typer.Option(min=0.0, help="GPUs per worker; default: 1 where there are any.")]
Gpu = Annotated[str | None, typer.Option(help="A10G, A100, H100, ...; default: that of the cluster's instances.")]
Measure = Annotated[bool, typer.Option("--measure", help="Train a few steps here, and show both numbers.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write what is printed to this JSON file.")]

BAD_INPUT = 2


def plan(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(recipe_names())}.")],
    changes: Changes = None,
    cluster: ClusterFile = None,
    workers: Workers = None,
    cpus_per_worker: Annotated[float, typer.Option(min=0.01, help="Logical CPUs per worker.")] = 1.0,
    gpus_per_worker: GpusPerWorker = None,
    gpu: Gpu = None,
    threads: Annotated[int, typer.Option(min=0, help="Torch threads per CPU worker; 0 shares this machine's.")] = 0,
    measure: Measure = False,
    json_file: JsonFile = None,
) -> None:
    """Predict memory, step time, checkpoint and upload size, and epochs per day; exit code 2 where it does not fit."""
    from ray_jobs.__main__ import changed, write_json
    from ray_jobs.cluster import Resources, parse_workers
    from ray_jobs.plan import build_parts, make_plan, most_workers
    from ray_jobs.plan_devices import cluster_nodes, this_cpu
    from ray_jobs.plan_table import text_of, to_json

    nodes = None if cluster is None else cluster_nodes(cluster)
    gpus = gpus_per_worker if gpus_per_worker is not None else float(gpu is not None or _num_gpus(nodes) > 0)
    number = parse_workers(workers) if workers is not None else int(_num_gpus(nodes) / gpus) if gpus and nodes else 1
    parts = build_parts(changed(load_recipe(recipe), changes))
    resources = most_workers(parts.budget, Resources(number, cpus_per_worker, gpus, threads), nodes)
    device = _gpu(gpu, nodes) if gpus else this_cpu(resources.num_threads)
    project = Path() if Path("ray_jobs/__main__.py").exists() else None
    made = make_plan(parts, resources, device, nodes, project)
    if isinstance(number, tuple):
        typer.echo(f"with {resources.num_shares} workers, the most of {workers} that share a batch and find room:")
    typer.echo(text_of(made))
    record = to_json(made) | {"workers": resources.num_shares}
    if measure and not made.problems:
        record["measured"] = _measured(parts, resources, made, device)
    write_json(json_file, record)
    if made.problems:
        raise typer.Exit(BAD_INPUT)


def _measured(parts: Any, resources: Any, made: Any, device: Any) -> dict[str, Any]:
    from ray_jobs.plan_measure import measure
    from ray_jobs.plan_table import shown

    here, found = measure(parts, resources, made, device)
    typer.echo(f"\none worker's share, on {here.name} of this machine:")
    typer.echo(f"{'':<28}{'predicted':>12}{'measured':>12}   measured/predicted")
    for row in found:
        predicted = "-" if row.predicted is None else shown(row.predicted, row.unit)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        typer.echo(f"{row.name:<28}{predicted:>12}{shown(row.measured, row.unit):>12}   {ratio}".rstrip())
    return {row.name: {"predicted": row.predicted, "measured": row.measured, "unit": row.unit} for row in found}


def _num_gpus(nodes: Any) -> float:
    return float(sum(node.gpus * node.max_nodes for node in nodes or []))


def _gpu(name: str | None, nodes: Any) -> Any:
    """Return the GPU that was named, or the cluster's."""
    from ray_jobs.plan_devices import GPUS, gpu_named

    known = sorted({node.gpu for node in nodes or [] if node.gpu})
    if name is None and len(known) != 1:
        found = f"the cluster's nodes have {', '.join(known)}" if known else "no node type tells it"
        raise ValueError(f"which GPU? {found}; say --gpu NAME (allowed: {', '.join(GPUS)})")
    return gpu_named(name or known[0])
