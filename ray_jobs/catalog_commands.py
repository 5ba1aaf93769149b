"""`eventsam catalog`: list datasets, look into catalogs, check them, render synthetic ones."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from datasets_catalog import dataset_names, load_dataset
from eventsam.catalog import absolute, open_catalog

app = typer.Typer(help="Datasets and catalogs.", no_args_is_help=True)

JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write what is printed to this JSON file.")]


@app.command("list")
def list_datasets() -> None:
    """List the datasets with sensor and licence."""
    for name in dataset_names():
        dataset = load_dataset(name)
        typer.echo(f"{name}\n  sensor:   {dataset.sensor}\n  licence:  {dataset.licence}")
        typer.echo(f"  provides: {', '.join(dataset.provides)}\n  cite:     {dataset.citation}")


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    root: Annotated[Path, typer.Argument(help="The catalog's folder.")],
    json_file: JsonFile = None,
) -> None:
    """Show what a catalog holds; fails where a file that it speaks of is missing."""
    catalog = open_catalog(load_dataset(dataset), absolute(root))
    splits = Counter(catalog.table["split"].to_pylist())
    objects = len(set(catalog.table["object_id"].to_pylist()))
    summary = {
        "dataset": dataset,
        "root": str(catalog.root),
        "hash": catalog.hash,
        "num_samples": catalog.table.num_rows,
        "num_objects": objects,
        "num_samples_by_split": dict(sorted(splits.items())),
        "columns": catalog.table.column_names,
    }
    for name, value in summary.items():
        typer.echo(f"{name}: {value}")
    if json_file is not None:
        json_file.write_text(json.dumps(summary, indent=1))


@app.command()
def render(
    out: Annotated[Path, typer.Option(help="Folder of the catalog; a started one is finished.")],
    meshes: Annotated[str, typer.Option(help="A folder of mesh files, or 'procedural'.")] = "procedural",
    objects: Annotated[int, typer.Option(min=1, help="Number of procedural objects.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    size: Annotated[int, typer.Option(min=16, help="Height and width of the frames in pixels.")] = 64,
    frames: Annotated[int, typer.Option(min=1, help="Frames per trajectory.")] = 80,
    trajectories: Annotated[int, typer.Option(min=1, help="Trajectories per object.")] = 1,
    samples: Annotated[int, typer.Option(min=1, help="Target frames per trajectory.")] = 4,
    background: Annotated[str, typer.Option(help="colour, clouds, mixed, or a folder of photos.")] = "mixed",
    up: Annotated[str, typer.Option(help="The axis that points up in mesh files: y or z.")] = "y",
    z_up: Annotated[list[str] | None, typer.Option(help="Pattern of mesh files with z up, as in 'ycb/*'.")] = None,
    allow_open: Annotated[bool, typer.Option("--allow-open", help="Fill meshes that are not watertight.")] = False,
) -> None:
    """Render objects on random camera paths: frames, blur, events, masks, points, occupancy. Resumable."""
    from eventsam.simulate.settings import RenderSettings
    from eventsam.simulate.sources import mesh_sources, procedural_sources
    from ray_jobs.cluster import connected
    from ray_jobs.render import render_catalog

    if up not in ("y", "z"):
        raise ValueError(f"--up {up!r} is not allowed (allowed: y, z)")
    photos = Path(background) if background not in ("colour", "clouds", "mixed") else None
    settings = RenderSettings(
        height=size,
        width=size,
        num_frames=frames,
        trajectories_per_object=trajectories,
        samples_per_trajectory=samples,
        background=background if photos is None else "photo",  # type: ignore[arg-type]
        background_folder=str(absolute(photos)) if photos is not None else None,
        seed=seed,
    )
    if meshes == "procedural":
        sources = procedural_sources(objects)
    else:
        sources = mesh_sources(absolute(meshes), up, tuple(z_up or ()), allow_open)  # type: ignore[arg-type]
    with connected():
        catalog = render_catalog(out, sources, settings)
    typer.echo(f"{catalog.root}: {catalog.table.num_rows} samples of {len(sources)} objects, hash {catalog.hash[:12]}")
