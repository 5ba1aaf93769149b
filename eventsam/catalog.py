"""A catalog on disk: index.parquet with one row per sample, and catalog.json that says what it is and seals it."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eventsam.dataset import INDEX_COLUMNS, Dataset
from eventsam.unknown_name import unknown_name

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Catalog:
    """An index of samples: `table` has the columns of `INDEX_COLUMNS` and the dataset's own; `hash` seals them."""

    root: Path
    dataset: str
    table: pa.Table
    hash: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def select(self, split: str, where: Mapping[str, Sequence[Any]] | None = None) -> "Catalog":
        """Return the rows of one split whose columns hold one of the given values.

        Raises:
            ValueError: no such split or value, or nothing is left.
            KeyError: no such column.
        """
        conditions: dict[str, Sequence[Any]] = {"split": (split,), **(where or {})}
        table = self.table
        for column, values in conditions.items():
            if column not in table.column_names:
                raise KeyError(unknown_name(f"column of {self.root}", column, table.column_names))
            present = pc.unique(self.table[column]).to_pylist()
            for value in values:
                if value not in present:
                    raise ValueError(f"{self.root}: no row has {column}={value!r} (there are: {present})")
            table = table.filter(pc.is_in(table[column], pa.array(list(values), table.schema.field(column).type)))
        if not table.num_rows:
            raise ValueError(f"{self.root}: no row satisfies {conditions}")
        return Catalog(self.root, self.dataset, table, f"{self.hash}/{json.dumps(conditions)}", self.details)

    def row(self, index: int) -> dict[str, Any]:
        """Return one row as a dict."""
        rows: list[dict[str, Any]] = self.table.slice(index, 1).to_pylist()
        return rows[0]

    def check_shards(self) -> None:
        """Raise ValueError naming every file that the index speaks of and the disk does not hold whole."""
        recorded = self.details.get("shards", {})
        missing, torn = [], []
        for shard in pc.unique(self.table["shard"]).to_pylist():
            path = self.root / shard
            if not path.exists():
                missing.append(shard)
            elif shard in recorded and path.stat().st_size != recorded[shard]:
                torn.append(shard)
        if missing or torn:
            parts = [
                f"{name}: {', '.join(shards[:5])}" + (f" and {len(shards) - 5} more" if len(shards) > 5 else "")
                for name, shards in (("missing", missing), ("of another size than recorded", torn))
                if shards
            ]
            raise ValueError(f"catalog {self.root} is not whole: {'; '.join(parts)}")


def open_catalog(dataset: Dataset, root: Path) -> Catalog:
    """Open the catalog at `root`, or index the dataset's own files where no catalog was written beside them.

    Raises:
        FileNotFoundError: `root` does not exist.
        ValueError: the catalog is of another dataset or schema version, its index was changed, or a shard is missing.
    """
    if not root.exists():
        raise FileNotFoundError(f"no catalog at {root}: the folder does not exist")
    if not (root / "catalog.json").exists():
        table = dataset.index(root)
        _check_columns(table, str(root))
        catalog = Catalog(root, dataset.name, table, table_hash(table))
    else:
        catalog = _open_written(dataset, root)
    catalog.check_shards()
    return catalog


def _open_written(dataset: Dataset, root: Path) -> Catalog:
    details = json.loads((root / "catalog.json").read_text())
    if details.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{root}/catalog.json has schema version {details.get('schema_version')}, this release reads "
            f"{SCHEMA_VERSION}: write the catalog again with `eventsam catalog`"
        )
    if details["dataset"] != dataset.name:
        raise ValueError(f"{root} is a catalog of {details['dataset']!r}, not of {dataset.name!r}")
    table = pq.read_table(root / "index.parquet")
    _check_columns(table, f"{root}/index.parquet")
    if table_hash(table) != details["hash"]:
        raise ValueError(f"{root}/index.parquet does not match the hash in catalog.json: it was changed or torn")
    return Catalog(root, dataset.name, table, details["hash"], details)


def write_catalog(dataset: Dataset, root: Path, details: Mapping[str, Any]) -> Catalog:
    """Index the dataset's files under `root` and write index.parquet and catalog.json, each whole or not at all."""
    table = dataset.index(root)
    _check_columns(table, str(root))
    shards = {name: (root / name).stat().st_size for name in pc.unique(table["shard"]).to_pylist()}
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(table["split"]).to_pylist()}
    record = {
        "schema_version": SCHEMA_VERSION,
        "dataset": dataset.name,
        "licence": dataset.licence,
        "num_samples": table.num_rows,
        "num_samples_by_split": counts,
        "hash": table_hash(table),
        "shards": shards,
        **details,
    }
    pq.write_table(table, root / "index.parquet.partial")
    (root / "index.parquet.partial").replace(root / "index.parquet")
    (root / "catalog.json.partial").write_text(json.dumps(record, indent=1))
    (root / "catalog.json.partial").replace(root / "catalog.json")
    return open_catalog(dataset, root)


def table_hash(table: pa.Table) -> str:
    """Return the sha256 of a table's schema and values, whatever its chunking."""
    digest = hashlib.sha256(str(table.schema.remove_metadata()).encode())
    for name in table.column_names:
        digest.update(json.dumps(table[name].to_pylist()).encode())
    return digest.hexdigest()


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that means the same on every worker, with `~` expanded."""
    return Path(path).expanduser().resolve()


def _check_columns(table: pa.Table, source: str) -> None:
    for name, kind in INDEX_COLUMNS.items():
        if name not in table.column_names:
            raise ValueError(f"{source}: the index lacks the column {name!r}")
        if table.schema.field(name).type != kind:
            raise ValueError(f"{source}: column {name!r} is {table.schema.field(name).type}, expected {kind}")
    if pc.count_distinct(table["sample_id"]).as_py() != table.num_rows:
        raise ValueError(f"{source}: sample_id is not unique")
