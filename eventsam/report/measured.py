"""What an evaluation measured, sample by sample, and the tables made of it: means, differences, shares, groups."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eventsam.metrics.bootstrap import Interval, paired_bootstrap, ratio_bootstrap
from eventsam.report.data import Difference, GroupRow, ResultRow, Share
from eventsam.report.palette import BLURS, INPUTS, in_order

Array = NDArray[np.float64]
Names = NDArray[np.str_]

FILE_NAME = "samples.parquet"
ALL_BLURS = "all"
BETWEEN = ("events_blurry", "events_only", "edi", "control")
PAIRS = (
    ("events_blurry", "blurry_rgb"),
    ("events_blurry", "control"),
    ("events_blurry", "edi"),
    ("events_blurry", "events_only"),
    ("control", "blurry_rgb"),
    ("sharp_rgb", "blurry_rgb"),
)
GROUPINGS = ("object", "category", "seen")


@dataclass(frozen=True)
class Measured:
    """Every metric of every input on every sample of one run.

    `values` maps "<input>/<metric>" to one value per sample; `sample_ids`, `objects` and `blurs` (n,) name the samples,
    and where the catalog tells them `categories`, with `seen` saying whether the training split holds the category.
    `seed` is the run's, `catalog` the catalog's hash.
    """

    sample_ids: Names
    objects: Names
    blurs: Names
    values: Mapping[str, Array]
    seed: int
    catalog: str
    categories: Names | None = None
    seen: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if value.shape != self.sample_ids.shape:
                raise ValueError(f"{name} has {value.shape} values for {self.sample_ids.shape} samples")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs, upper bound first."""
        return in_order((name.partition("/")[0] for name in self.values), INPUTS)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics, in their order."""
        return tuple(dict.fromkeys(name.partition("/")[2] for name in self.values))

    def levels(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Yield (blur level, which samples are of it), named levels first, then exposures by their length."""
        for level in in_order(sorted(set(self.blurs.tolist()), key=_by_length), BLURS):
            yield level, self.blurs == level

    def pair(self, first: str, second: str) -> bool:
        """Whether both inputs were measured."""
        return first in self.inputs and second in self.inputs


def rows_of(measured: Measured) -> list[ResultRow]:
    """Return the mean of every input, blur level and metric with its interval over objects."""
    rows = []
    for blur, chosen in measured.levels():
        for name in measured.inputs:
            for metric in measured.metrics:
                rows.append(ResultRow(name, blur, metric, *_mean(measured, f"{name}/{metric}", chosen), measured.seed))
    return rows


def differences_of(measured: Measured, pairs: Sequence[tuple[str, str]] = PAIRS) -> list[Difference]:
    """Return the paired differences that the verdict speaks of, of the inputs that were measured."""
    found = []
    for blur, chosen in measured.levels():
        objects = measured.objects[chosen]
        for metric in measured.metrics:
            for first, second in (pair for pair in pairs if measured.pair(*pair)):
                a, b = (measured.values[f"{name}/{metric}"][chosen] for name in (first, second))
                interval, count = paired_bootstrap(a, b, objects), len(np.unique(objects))
                found.append(Difference(first, second, blur, metric, *interval, count, measured.seed))
    return found


def shares_of(measured: Measured, metric: str = "viou") -> dict[str, dict[str, Share]]:
    """Return the share of the gap between blurry and sharp RGB that each input closes, by input and blur level."""
    if not measured.pair("blurry_rgb", "sharp_rgb"):
        return {}
    shares: dict[str, dict[str, Share]] = {name: {} for name in BETWEEN if name in measured.inputs}
    for blur, chosen in measured.levels():
        low, high = (measured.values[f"{bound}/{metric}"][chosen] for bound in ("blurry_rgb", "sharp_rgb"))
        for name in shares:
            ours = measured.values[f"{name}/{metric}"][chosen]
            shares[name][blur] = _share(ratio_bootstrap(ours, low, high, measured.objects[chosen]))
    return shares


def groups_of(measured: Measured, by: Sequence[str], metrics: Sequence[str] = ("viou", "chamfer")) -> list[GroupRow]:
    """Return means per object, category, or seen and unseen categories: `by` names of `GROUPINGS`.

    Raises ValueError for an unknown grouping, and where the catalog does not tell categories.
    """
    rows = []
    for grouping in by:
        labels = _labels(measured, grouping)
        for group in sorted(set(labels.tolist())):
            for blur, chosen in measured.levels():
                inside = chosen & (labels == group)
                if not inside.any():
                    continue
                for name in measured.inputs:
                    for metric in (metric for metric in metrics if metric in measured.metrics):
                        mean = _mean(measured, f"{name}/{metric}", inside)
                        rows.append(GroupRow(grouping, group, name, blur, metric, *mean, measured.seed))
    return rows


def save_measured(measured: Measured, path: Path) -> None:
    """Write one row per sample, a column per "<input>/<metric>", as Parquet."""
    columns: dict[str, Any] = {"sample_id": measured.sample_ids, "object_id": measured.objects, "blur": measured.blurs}
    if measured.categories is not None and measured.seen is not None:
        columns |= {"category": measured.categories, "seen": measured.seen}
    table = pa.table({name: pa.array(values.tolist()) for name, values in (columns | dict(measured.values)).items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"seed": str(measured.seed), "catalog": measured.catalog}
    pq.write_table(table.replace_schema_metadata(told), path)


def load_measured(path: Path) -> Measured:
    """Read what `save_measured` wrote; raise ValueError naming the file where it is missing or something else."""
    if not path.is_file():
        raise ValueError(f"no {path.name} in {path.parent}: evaluate the run with --out, or run the demo again")
    table = pq.read_table(path)
    told, names = table.schema.metadata or {}, table.column_names
    if b"seed" not in told or not {"sample_id", "object_id", "blur"} <= set(names):
        raise ValueError(f"{path} is no table of measured samples (columns: {', '.join(names)})")
    read = {name: np.array(table[name].to_pylist()) for name in names}
    return Measured(
        sample_ids=read["sample_id"],
        objects=read["object_id"],
        blurs=read["blur"],
        values={name: read[name].astype(np.float64) for name in names if "/" in name},
        seed=int(told[b"seed"]),
        catalog=told[b"catalog"].decode(),
        categories=read.get("category"),
        seen=read.get("seen"),
    )


def _mean(measured: Measured, name: str, chosen: NDArray[np.bool_]) -> tuple[float, float, float, int]:
    """Return mean, bounds and the number of objects of some samples."""
    value, objects = measured.values[name][chosen], measured.objects[chosen]
    return (*paired_bootstrap(value, np.zeros_like(value), objects), len(np.unique(objects)))


def _labels(measured: Measured, grouping: str) -> Names:
    if grouping not in GROUPINGS:
        raise ValueError(f"unknown grouping {grouping!r} (allowed: {', '.join(GROUPINGS)})")
    if grouping == "object":
        return measured.objects
    if measured.categories is None or measured.seen is None:
        raise ValueError(f"no table by {grouping}: the catalog has no column 'category'")
    return measured.categories if grouping == "category" else np.where(measured.seen, "seen", "unseen")


def _share(interval: Interval) -> Share:
    mean, low, high = (None if np.isnan(value) else float(value) for value in interval)
    return Share(mean, low, high)


def _by_length(level: str) -> tuple[float, str]:
    """Exposures ("25ms") by their time; other names before them."""
    try:
        return float(level.removesuffix("ms")), level
    except ValueError:
        return -1.0, level
