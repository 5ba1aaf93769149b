"""The blur ladder: a fusion's inputs on held-out objects at every blur level, measured sample by sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datasets_catalog import load_dataset
from eventsam import checkpoint
from eventsam.catalog import Catalog, open_catalog
from eventsam.engine import to_device
from eventsam.loading import Data, Loader
from eventsam.metrics.shape import ShapeProtocol
from eventsam.metrics.uni3d import Uni3dSimilarity
from eventsam.order import Order
from eventsam.predictions import Predictions
from eventsam.report.data import SampleRow
from eventsam.report.measured import ALL_BLURS, Measured
from eventsam.spec import Spec, build, get, spec
from eventsam.tasks.compare import INPUTS, Compare, check_inputs
from eventsam.tasks.trained import resolve
from ray_jobs.cluster import Resources
from ray_jobs.train import launch_evaluation


@dataclass(frozen=True)
class Extras:
    """What costs more than the ladder itself: all shape metrics, Uni3D's (its arguments), kept predictions."""

    protocol: ShapeProtocol | None = None
    uni3d: tuple[str, str, str] | None = None
    predictions: Predictions | None = None

    def arguments(self) -> dict[str, object]:
        """Return the comparison's arguments as specs."""
        made: dict[str, object] = {}
        if self.protocol is not None:
            made["protocol"] = spec(ShapeProtocol, **vars(self.protocol))
        if self.uni3d is not None:
            weights, clip_weights, size = self.uni3d
            made["similarity"] = spec(Uni3dSimilarity, weights=weights, clip_weights=clip_weights, size=size)
        if self.predictions is not None:
            made["predictions"] = spec(Predictions, **vars(self.predictions))
        return made


@dataclass(frozen=True)
class Ladder:
    """A comparison and the samples of one split; `seen` are the training split's categories."""

    task: Spec
    loader: Loader
    seed: int
    seen: frozenset[str] | None = None
    predictions: Predictions | None = None


def open_ladder(
    fused: Path,
    control: Path | None,
    split: str = "test",
    root: str | None = None,
    inputs: Sequence[str] | None = None,
    extras: Extras | None = None,
) -> Ladder:
    """Open the data of a trained fusion for a held-out split; without a control, its input is left out."""
    fused, control, extras = resolve(fused), control and resolve(control), extras or Extras()
    default = INPUTS if control else [name for name in INPUTS if name != "control"]
    arguments: dict[str, object] = {"inputs": check_inputs(inputs or default), "fused": str(fused)}
    arguments |= {"control": str(control)} if control else {}
    task: Spec = spec(Compare, **arguments, **extras.arguments())  # type: ignore[assignment, arg-type]
    recipe: Spec = checkpoint.read_state(fused).recipe
    # Uni3D's own models are too large to be built here only to ask what they read.
    keys = (*Compare(**arguments).reads, *(("rgb", "mask") if extras.uni3d else ()))  # type: ignore[arg-type]
    return Ladder(task, *held_out(recipe, split, root, keys), extras.predictions)


def held_out(
    recipe: Spec, split: str, root: str | Path | None, keys: Sequence[str]
) -> tuple[Loader, int, frozenset[str] | None]:
    """Return the loader of a recipe's data on a split, its seed, and the categories of its training split."""
    data: Data = build(recipe.arguments["data"])
    dataset = load_dataset(data.dataset)
    whole = open_catalog(dataset, Path(root or data.root))
    catalog = whole.select(split, data.where)
    order = Order(catalog.table.num_rows, 0, catalog.hash, shuffle=False)
    loader = Loader(dataset, catalog, data, tuple(sorted(set(keys))), order, augmented=False)
    return loader, int(get(recipe, "seed")), _training_categories(whole, data)


def measure(ladder: Ladder, folder: Path, resources: Resources, batch_size: int = 48) -> Measured:
    """Evaluate the inputs on the cluster."""
    if ladder.predictions is not None:
        ladder.predictions.prepare(ladder.loader.catalog.table["sample_id"].to_pylist())
    states = launch_evaluation(ladder.task, ladder.loader, batch_size * resources.num_shares, folder, resources)
    values = {name: rows[np.argsort(rows[:, 0]), 1] for name, rows in states.items()}
    return measured_of(ladder.loader, values, ladder.seed, ladder.seen)


def measured_of(
    loader: Loader, values: dict[str, np.ndarray], seed: int, seen: frozenset[str] | None = None
) -> Measured:
    """Put values, one per sample in the loader's order, beside what its catalog says of the samples."""
    table = loader.catalog.table
    columns = {name: np.array(table[name].to_pylist()) for name in ("sample_id", "object_id")}
    blurs = table["blur"].to_pylist() if "blur" in table.column_names else [ALL_BLURS] * table.num_rows
    categories = np.array(table["category"].to_pylist()) if "category" in table.column_names else None
    return Measured(
        sample_ids=columns["sample_id"],
        objects=columns["object_id"],
        blurs=np.array(blurs),
        values=values,
        seed=seed,
        catalog=loader.catalog.hash.partition("/")[0],
        categories=categories,
        seen=None if categories is None else np.isin(categories, sorted(seen or ())),
    )


def sample_rows(ladder: Ladder, measured: Measured, num_samples: int = 6) -> list[SampleRow]:
    """Return samples of the hardest level to look at, spread over the held-out objects by their rank in our vIoU."""
    blur, chosen = list(measured.levels())[-1]
    places = np.flatnonzero(chosen)
    _, first = np.unique(measured.objects[chosen], return_index=True)
    places = places[first]
    ranked = places[np.argsort(measured.values["events_blurry/viou"][places])]
    picked = ranked[np.linspace(0, len(ranked) - 1, min(num_samples, len(ranked))).round().astype(int)]
    task: Compare = build(ladder.task)
    batch = ladder.loader.batch(picked.astype(np.int64))
    logits = task.eval().predict(to_device(batch, torch.device("cpu")))
    representation = ladder.loader.data.representation
    rows = []
    for number, place in enumerate(picked):
        keys = {"blurry": "rgb_blurry", "edi": "rgb_edi", "sharp": "rgb"}
        images = {name: batch[key][number] for name, key in keys.items() if key in batch}
        images["events"] = representation.to_rgb(batch["event_image"][number])
        shapes = {"truth": batch["occupancy"][number]}
        shapes |= {name: (value[number] > 0).numpy() for name, value in logits.items()}
        scores = {name: float(measured.values[f"{name}/viou"][place]) for name in measured.inputs}
        rows.append(SampleRow(str(measured.sample_ids[place]), blur, images, shapes, scores))
    return rows


def _training_categories(catalog: Catalog, data: Data) -> frozenset[str] | None:
    if "category" not in catalog.table.column_names:
        return None
    table = catalog.select(data.train_split, data.where).table
    return frozenset(table["category"].to_pylist())
