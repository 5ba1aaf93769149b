"""What a teacher made of the sharp frames, kept on disk: one row per sample of a catalog, found by the sample's id."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eventsam.sample import Sample

VERSION = 1
RECORD = "targets.json"
ROWS_PER_GROUP = 4
"""Few: training reads single rows in random order."""

KEYS = ("target_shape", "target_pose", "target_occupancy")
"""The sample keys that a row gives."""

SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("shape", pa.binary(), nullable=False),
        pa.field("pose", pa.binary(), nullable=False),
        pa.field("occupancy", pa.binary(), nullable=False),
    ]
)
"""Latents as little-endian float32, the occupancy as packed bits, first cell highest; metadata holds the shapes."""


def part_path(folder: Path, number: int) -> Path:
    """Return the file of one part."""
    return folder / f"part-{number:05}.parquet"


def write_part(path: Path, ids: Sequence[str], seeds: Sequence[int], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write rows, whole or not at all; `arrays` are those of `KEYS`, batched."""
    packed = np.packbits(arrays["target_occupancy"].reshape(len(ids), -1), axis=1)
    columns = {
        "sample_id": list(ids),
        "seed": list(seeds),
        "shape": [np.ascontiguousarray(row, "<f4").tobytes() for row in arrays["target_shape"]],
        "pose": [np.ascontiguousarray(row, "<f4").tobytes() for row in arrays["target_pose"]],
        "occupancy": [row.tobytes() for row in packed],
    }
    shapes = {name: arrays[name].shape[1:] for name in KEYS}
    schema = SCHEMA.with_metadata({"shapes": json.dumps(shapes)})
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.table(columns, schema=schema), partial, row_group_size=ROWS_PER_GROUP, compression="zstd")
    partial.replace(path)


def seal(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record that makes a folder of parts complete; it holds "catalog" (hash) and "num_parts"."""
    partial = folder / f".{RECORD}.partial"
    partial.write_text(json.dumps({"version": VERSION, **record}, indent=1))
    partial.replace(folder / RECORD)


@dataclass(frozen=True)
class Targets:
    """A sealed folder of targets; cheap to send to another process."""

    folder: Path
    catalog: str
    num_parts: int

    def read(self, sample_id: str) -> Sample:
        """Return the target keys of one sample; raise KeyError for one that has none."""
        places = _places(self.folder, self.num_parts)
        if sample_id not in places:
            raise KeyError(f"{self.folder} has no target of {sample_id!r}: `eventsam targets` was run on other splits")
        part, row = places[sample_id]
        file = _open(part_path(self.folder, part))
        group, inside = divmod(row, ROWS_PER_GROUP)
        values = file.read_row_group(group, columns=["shape", "pose", "occupancy"]).slice(inside, 1).to_pylist()[0]
        shapes = json.loads(file.schema_arrow.metadata[b"shapes"])
        size = int(np.prod(shapes["target_occupancy"]))
        bits = np.unpackbits(np.frombuffer(values["occupancy"], np.uint8), count=size)
        return {
            "target_shape": np.frombuffer(values["shape"], "<f4").reshape(shapes["target_shape"]),
            "target_pose": np.frombuffer(values["pose"], "<f4").reshape(shapes["target_pose"]),
            "target_occupancy": bits.astype(bool).reshape(shapes["target_occupancy"]),
        }


def open_targets(folder: Path, catalog_hash: str) -> Targets:
    """Open sealed targets.

    Raises:
        FileNotFoundError: the folder is not there or not complete.
        ValueError: its version is another, or it was made from another catalog.
    """
    path = folder / RECORD
    if not path.is_file():
        state = "was begun and not finished: run `eventsam targets` again" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(f"no targets at {folder}: it {state}")
    record = json.loads(path.read_text())
    if record["version"] != VERSION:
        raise ValueError(f"{path} has version {record['version']}, this release reads {VERSION}")
    if record["catalog"] != catalog_hash:
        raise ValueError(f"{folder} was made from catalog {record['catalog'][:12]}, the data is {catalog_hash[:12]}")
    return Targets(folder, record["catalog"], record["num_parts"])


@lru_cache(maxsize=8)
def _places(folder: Path, num_parts: int) -> Mapping[str, tuple[int, int]]:
    """Return part and row of every sample."""
    places: dict[str, tuple[int, int]] = {}
    for part in range(num_parts):
        ids = pq.read_table(part_path(folder, part), columns=["sample_id"])["sample_id"].to_pylist()
        places |= {sample_id: (part, row) for row, sample_id in enumerate(ids)}
    return places


@lru_cache(maxsize=64)
def _open(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path)
