"""Writing a failure bundle, as `bundle.py` describes it: each worker its own part, the first one what all share."""

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
from eventsam.checkpoint import Storage
from eventsam.faults.bundle import FOLDER, MAX_BATCH_BYTES, NUM_RECORDS, VERSION
from eventsam.faults.flight import FlightRecorder, digest
from eventsam.metrics_log import MetricsLog
from eventsam.provenance import code_hash, environment
from eventsam.quarantine import FOLDER as QUARANTINE
from eventsam.tasks.task import Task

log = logging.getLogger(__name__)


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
        if (scene.run / QUARANTINE).exists():
            shutil.copytree(scene.run / QUARANTINE, folder / QUARANTINE, dirs_exist_ok=True)
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
