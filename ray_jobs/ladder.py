"""The blur ladder: five inputs on held-out objects at every blur level, with intervals and what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from datasets_catalog import load_dataset
from eventsam import checkpoint
from eventsam.catalog import open_catalog
from eventsam.engine import to_device
from eventsam.loading import Data, Loader
from eventsam.metrics.bootstrap import Interval, paired_bootstrap, ratio_bootstrap
from eventsam.metrics.reconstruction import NAMES
from eventsam.order import Order
from eventsam.report.data import Difference, ResultRow, SampleRow, Share
from eventsam.spec import Spec, build, get, spec
from eventsam.tasks.compare import INPUTS, Compare
from eventsam.tasks.trained import resolve
from ray_jobs.cluster import Resources
from ray_jobs.train import launch_evaluation

Values = Mapping[str, NDArray[np.float64]]
"""Metric by "<input>/<metric>": one value per sample of the loader, in its order."""

BETWEEN = ("events_blurry", "edi", "control")
PAIRS = (
    ("events_blurry", "blurry_rgb"),
    ("events_blurry", "control"),
    ("events_blurry", "edi"),
    ("control", "blurry_rgb"),
    ("sharp_rgb", "blurry_rgb"),
)
LEVELS = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Ladder:
    """Two trained fusions of one reconstructor on one split."""

    fused: Path
    control: Path
    loader: Loader
    seed: int

    @property
    def task(self) -> Spec:
        """The comparison as a spec."""
        compare: Spec = spec(Compare, fused=str(self.fused), control=str(self.control))  # type: ignore[assignment]
        return compare


def open_ladder(fused: Path, control: Path, split: str = "test", root: str | None = None) -> Ladder:
    """Open the data of a trained fusion for a held-out split."""
    fused, control = resolve(fused), resolve(control)
    recipe: Spec = checkpoint.read_state(fused).recipe
    data: Data = build(recipe.arguments["data"])
    dataset = load_dataset(data.dataset)
    catalog = open_catalog(dataset, Path(root or data.root)).select(split)
    order = Order(catalog.table.num_rows, 0, catalog.hash, shuffle=False)
    keys = tuple(sorted(Compare(fused, control).reads))
    loader = Loader(dataset, catalog, data, keys, order, augmented=False)
    return Ladder(fused, control, loader, int(get(recipe, "seed")))


def measure(ladder: Ladder, folder: Path, resources: Resources, batch_size: int = 48) -> Values:
    """Evaluate the five inputs on the cluster."""
    states = launch_evaluation(ladder.task, ladder.loader, batch_size * resources.num_shares, folder, resources)
    return {name: rows[np.argsort(rows[:, 0]), 1] for name, rows in states.items()}


def rows_of(ladder: Ladder, values: Values) -> list[ResultRow]:
    """Return the mean of every input, blur level and metric with its interval over objects."""
    rows = []
    for blur, chosen, objects in _levels(ladder.loader):
        num_objects = len(np.unique(objects))
        for name in INPUTS:
            for metric in NAMES:
                value = values[f"{name}/{metric}"][chosen]
                mean = paired_bootstrap(value, np.zeros_like(value), objects)
                rows.append(ResultRow(name, blur, metric, *mean, num_objects, ladder.seed))
    return rows


def differences_of(ladder: Ladder, values: Values) -> list[Difference]:
    """Return the paired differences that the verdict speaks of."""
    found = []
    for blur, chosen, objects in _levels(ladder.loader):
        num_objects = len(np.unique(objects))
        for metric in NAMES:
            for first, second in PAIRS:
                pair = (values[f"{first}/{metric}"][chosen], values[f"{second}/{metric}"][chosen])
                found.append(
                    Difference(first, second, blur, metric, *paired_bootstrap(*pair, objects), num_objects, ladder.seed)
                )
    return found


def shares_of(ladder: Ladder, values: Values, metric: str = "viou") -> dict[str, dict[str, Share]]:
    """Return the share of the gap between blurry and sharp RGB that each input closes, by input and blur level."""
    shares: dict[str, dict[str, Share]] = {name: {} for name in BETWEEN}
    for blur, chosen, objects in _levels(ladder.loader):
        low, high = (values[f"{bound}/{metric}"][chosen] for bound in ("blurry_rgb", "sharp_rgb"))
        for name in BETWEEN:
            shares[name][blur] = _share(ratio_bootstrap(values[f"{name}/{metric}"][chosen], low, high, objects))
    return shares


def sample_rows(ladder: Ladder, values: Values, num_samples: int = 6) -> list[SampleRow]:
    """Return samples of the hardest level to look at, spread over the held-out objects by their rank in our vIoU."""
    blur, chosen, objects = list(_levels(ladder.loader))[-1]
    places = np.flatnonzero(chosen)
    _, first = np.unique(objects, return_index=True)
    places = places[first]
    ranked = places[np.argsort(values["events_blurry/viou"][places])]
    picked = ranked[np.linspace(0, len(ranked) - 1, min(num_samples, len(ranked))).round().astype(int)]
    task: Compare = build(ladder.task)
    batch = ladder.loader.batch(picked.astype(np.int64))
    logits = task.eval().predict(to_device(batch, torch.device("cpu")))
    representation = ladder.loader.data.representation
    rows = []
    for number, place in enumerate(picked):
        row = ladder.loader.catalog.row(int(place))
        images = {key: batch[key][number] for key in ("rgb_blurry", "rgb_edi", "rgb")}
        images = {"blurry": images["rgb_blurry"], "events": representation.to_rgb(batch["event_image"][number]),
                  "edi": images["rgb_edi"], "sharp": images["rgb"]}  # fmt: skip
        shapes = {"truth": batch["occupancy"][number]}
        shapes |= {name: (value[number] > 0).numpy() for name, value in logits.items()}
        scores = {name: float(values[f"{name}/viou"][place]) for name in INPUTS}
        rows.append(SampleRow(row["sample_id"], blur, images, shapes, scores))
    return rows


def _levels(loader: Loader) -> Sequence[tuple[str, NDArray[np.bool_], NDArray[np.str_]]]:
    """Return (blur level, its samples, their objects) from easy to hard."""
    table = loader.catalog.table
    if "blur" not in table.column_names:
        raise ValueError(f"dataset {loader.dataset.name!r} has no blur levels to compare")
    blur, objects = np.array(table["blur"].to_pylist()), np.array(table["object_id"].to_pylist())
    return [(level, blur == level, objects[blur == level]) for level in LEVELS if (blur == level).any()]


def _share(interval: Interval) -> Share:
    mean, low, high = (None if np.isnan(value) else float(value) for value in interval)
    return Share(mean, low, high)
