"""A failure bundle: a folder from which the failing step can be computed again, on one CPU and without the cluster.

  bundle.json             kind, step, message, recipe, the last records, versions, how many workers there were
  rank_K.json             sample ids, rows and positions of that worker's share of the batch, its host and process
  rank_K.safetensors      its share of the batch (up to `MAX_BATCH_BYTES`) and its random state before the step
  rank_K.stacks.txt       what each of its threads was doing
  weights.safetensors     the trained weights before the step (not for a hang: a stuck process writes no weights)
  checkpoint/             the newest checkpoint before the step: to watch the steps that led there

JSON and safetensors alone. Every worker writes its own files; the first worker writes what is common to all.
"""

import faulthandler
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import eventsam.spec
from eventsam import checkpoint
from eventsam.checkpoint import Storage
from eventsam.faults.flight import FlightRecorder, digest
from eventsam.metrics_log import MetricsLog
from eventsam.provenance import code_hash, environment
from eventsam.tasks.task import Task

log = logging.getLogger(__name__)

VERSION = 1
FOLDER = "failures"
MAX_BATCH_BYTES = 512 * 2**20
NUM_RECORDS = 20


@dataclass(frozen=True)
class Scene:
    """What all bundles of a run share: where it writes, what it is, and which worker this is."""

    run: Path
    recipe: Any
    catalog_hash: str
    rank: int
    world_size: int
    storage: Storage


def write_bundle(
    scene: Scene,
    flight: FlightRecorder,
    kind: str,
    message: str,
    task: Task | None = None,
    numbers: Mapping[str, float] | None = None,
    sample_ids: Sequence[str] = (),
) -> Path:
    """Write this worker's part of the bundle of the step under way; return the bundle's folder.

    Args:
        kind: "nonfinite", "explosion", "error" or "hang".
        task: its weights are those before the step; left out where they cannot be had.
        numbers: what the step computed before it failed, such as loss and gradient_norm.
        sample_ids: those of this worker's share.
    """
    folder = scene.run / FOLDER / f"step_{max(flight.step, 0):09d}_{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"rank_{scene.rank}.stacks.txt").open("w") as file:
        faulthandler.dump_traceback(file, all_threads=True)
    _write_rank(folder, scene, flight, numbers or {}, sample_ids)
    # What is common to all is the first worker's to write; another does where that one cannot.
    if scene.rank == 0 or not (folder / "bundle.json").exists():
        if task is not None:
            _write_weights(folder / "weights.safetensors", task)
        _keep_checkpoint(scene.storage, folder, flight.step)
        _write_json(folder / "bundle.json", _common(scene, flight, kind, message))
    log.error("failure bundle: %s (look at it with: eventsam repro %s)", folder, folder)
    return folder


def _write_weights(path: Path, task: Task) -> None:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in task.trained_state().items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    safetensors.torch.save_file(weights, partial)
    partial.replace(path)


def _common(scene: Scene, flight: FlightRecorder, kind: str, message: str) -> dict[str, Any]:
    records = MetricsLog(scene.run / "metrics.jsonl").read()
    return {
        "version": VERSION,
        "kind": kind,
        "step": flight.step,
        "message": message,
        "run": str(scene.run),
        "recipe": eventsam.spec.to_json(scene.recipe),
        "catalog_hash": scene.catalog_hash,
        "world_size": scene.world_size,
        "records": records[-NUM_RECORDS:],
        "time": time.time(),
        "code_hash": code_hash(),
        "environment": dict(environment()),
    }


def _write_rank(
    folder: Path, scene: Scene, flight: FlightRecorder, numbers: Mapping[str, float], ids: Sequence[str]
) -> None:
    batch = {name: torch.as_tensor(value).detach().cpu().contiguous() for name, value in flight.batch.items()}
    num_bytes = sum(tensor.nbytes for tensor in batch.values())
    tensors = {f"random/{name}": state for name, state in flight.random_state.items()}
    if num_bytes <= MAX_BATCH_BYTES:
        tensors |= {f"batch/{name}": tensor for name, tensor in batch.items()}
    safetensors.torch.save_file(tensors, folder / f"rank_{scene.rank}.safetensors")
    record = {
        "rank": scene.rank,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "sample_ids": list(ids),
        "sample_index": batch["sample_index"].tolist() if "sample_index" in batch else [],
        "position": batch["position"].tolist() if "position" in batch else [],
        "batch_bytes": num_bytes,
        "batch_hash": digest(batch),
        "numbers": {name: repr(float(value)) for name, value in numbers.items()},
    }
    _write_json(folder / f"rank_{scene.rank}.json", record)


def _keep_checkpoint(storage: Storage, folder: Path, step: int) -> None:
    """Copy the newest checkpoint, by hard links where the file system has them: the run deletes its own later."""
    name = storage.newest()
    if name is None or storage.state(name).step > max(step, 0):
        return
    newest, target = storage.fetch(name), folder / "checkpoint" / name
    target.mkdir(parents=True, exist_ok=True)
    for file in newest.iterdir():
        if (target / file.name).exists():
            continue
        try:
            (target / file.name).hardlink_to(file)
        except OSError:
            shutil.copy2(file, target / file.name)


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(record, indent=1))
    partial.replace(path)


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
