"""`eventsam targets`: ask a teacher once for all that a fusion will be trained towards."""

from pathlib import Path
from typing import Annotated

import typer


def targets(
    model: Annotated[Path, typer.Argument(help="A run of sam3d_generate, or what `eventsam convert sam3d` wrote.")],
    catalog: Annotated[Path, typer.Option(help="The catalog's folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the targets; a started one is finished.")],
    dataset: Annotated[str, typer.Option(help="The dataset's name.")] = "synthetic",
    split: Annotated[list[str] | None, typer.Option(help="A split, again for more; default: train and val.")] = None,
    mask: Annotated[str, typer.Option(help="The mask's sample key: mask or mask_blurry.")] = "mask_blurry",
    prompt: Annotated[str, typer.Option(help="What is shown of the mask: mask or box.")] = "box",
    pointmap: Annotated[bool, typer.Option("--pointmap", help="Show the pointmap too.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 4,
    guided: Annotated[bool, typer.Option("--guided", help="Guided sampling, no shortcuts; 25 steps.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples at once.")] = 16,
    workers: Annotated[int, typer.Option(min=1, help="Processes that hold the model.")] = 1,
    gpus_per_worker: Annotated[float, typer.Option(min=0, help="GPUs of each.")] = 0.0,
) -> None:
    """Sample latents, occupancy and raw pose from the sharp frame of every sample, once, seeds kept. Resumable.

    Then train with --set task.target=stored --set data.targets=OUT --set "data.augment=()".
    """
    from datasets_catalog import load_dataset
    from eventsam.catalog import absolute, open_catalog
    from eventsam.loading import Data, Loader
    from eventsam.models.sam3d.model import Sampling
    from eventsam.order import Order
    from eventsam.representations.blank import Blank
    from eventsam.spec import spec
    from eventsam.tasks.sam3d_inputs import Shown
    from eventsam.tasks.trained import trained_sam3d
    from eventsam.windows import Window
    from ray_jobs.cluster import connected
    from ray_jobs.targets import Asked, make_targets, select_splits

    shown = Shown(mask, prompt, pointmap)  # type: ignore[arg-type]
    sampling = Sampling(num_steps=steps, distilled=not guided)
    asked = Asked(spec(trained_sam3d, checkpoint=str(absolute(model))), shown, sampling, batch_size=batch_size)
    found = load_dataset(dataset)
    rows = select_splits(open_catalog(found, absolute(catalog)), split or ["train", "val"])
    data = Data(dataset, str(absolute(catalog)), Window(length_ms=10.0), Blank())
    order = Order(rows.table.num_rows, 0, rows.hash, shuffle=False)
    loader = Loader(found, rows, data, asked.reads, order, augmented=False)
    facts = {"model": str(absolute(model)), "splits": sorted(split or ["train", "val"]), "shown": vars(shown)}
    facts |= {"steps": steps, "guided": guided}
    with connected():
        make_targets(asked, loader, absolute(out), facts, num_workers=workers, gpus_per_worker=gpus_per_worker)
    typer.echo(f"{absolute(out)}: {rows.table.num_rows} targets of splits {', '.join(facts['splits'])}")
