"""A failure bundle: a folder from which the failing step can be computed again, on one CPU and without the cluster.

  bundle.json             kind, step, message, recipe, the last records, versions, how many workers there were
  rank_K.json             sample ids, rows and positions of that worker's share of the batch, its host and process
  rank_K.safetensors      its share of the batch (up to `MAX_BATCH_BYTES`) and its random state before the step
  rank_K.stacks.txt       what each of its threads was doing
  weights.safetensors     the trained weights before the step (not for a hang: a stuck process writes no weights)
  quarantine/             which bad samples' places were filled by which others, where there were any
  checkpoint/             the newest checkpoint before the step: to watch the steps that led there

JSON and safetensors alone. Every worker writes its own files; the first worker writes what is common to all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import eventsam.spec
from eventsam import checkpoint

VERSION = 1
FOLDER = "failures"
MAX_BATCH_BYTES = 512 * 2**20
NUM_RECORDS = 20


@dataclass(frozen=True)
class Share:
    """One worker's part of a bundle: `batch` is empty where it was too large to keep."""

    rank: int
    sample_ids: tuple[str, ...]
    sample_index: tuple[int, ...]
    positions: tuple[int, ...]
    batch: Mapping[str, torch.Tensor]
    random_state: Mapping[str, torch.Tensor]
    batch_hash: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Bundle:
    """A bundle as read from its folder."""

    folder: Path
    kind: str
    step: int
    message: str
    recipe: Any
    catalog_hash: str
    world_size: int
    versions: Mapping[str, str]
    shares: tuple[Share, ...]

    @property
    def weights(self) -> Path | None:
        """The weights before the step, where they were kept."""
        path = self.folder / "weights.safetensors"
        return path if path.exists() else None

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint before the step, where there was one."""
        return checkpoint.latest(self.folder / "checkpoint")


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle.

    Raises:
        FileNotFoundError: the folder holds none.
        ValueError: it is of another version, or torn; the file is named.
    """
    path = folder / "bundle.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no failure bundle: {path.name} is missing")
    try:
        record = json.loads(path.read_text())
        if record["version"] != VERSION:
            raise ValueError(f"version {record['version']}, this release reads {VERSION}")
        shares = tuple(_read_share(file) for file in sorted(folder.glob("rank_*.json")))
        return Bundle(
            folder,
            record["kind"],
            record["step"],
            record["message"],
            eventsam.spec.from_json(record["recipe"]),
            record["catalog_hash"],
            record["world_size"],
            {"code": record["code_hash"], **record["environment"]},
            tuple(sorted(shares, key=lambda share: share.rank)),
        )
    except (ValueError, KeyError, TypeError, OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{folder} is no whole failure bundle: {error}") from error


def _read_share(path: Path) -> Share:
    record = json.loads(path.read_text())
    tensors = safetensors.torch.load_file(path.with_suffix(".safetensors"))
    parts = {
        part: {name.split("/", 1)[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}
        for part in ("batch", "random")
    }
    return Share(
        record["rank"],
        tuple(record["sample_ids"]),
        tuple(record["sample_index"]),
        tuple(record["position"]),
        parts["batch"],
        parts["random"],
        record["batch_hash"],
        {name: float(value) for name, value in record["numbers"].items()},
    )


def newest_bundle(run: Path) -> Path | None:
    """Return the newest failure bundle of a run's folder, None where there is none."""
    files = list((run / FOLDER).glob("*/bundle.json"))
    return max(files, key=lambda path: path.stat().st_mtime).parent if files else None
