"""A checkpoint is a folder: model.safetensors, optimizer.safetensors, state.json; written whole or not at all."""

import base64
import json
import logging
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

import eventsam.spec
from eventsam.tasks.task import Task

log = logging.getLogger(__name__)

VERSION = 1
FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


@dataclass(frozen=True)
class State:
    """Where a run stands: optimiser steps taken and samples consumed, with everything needed to go on."""

    step: int
    position: int
    best: float | None
    recipe: Any
    catalog_hash: str
    metrics: Mapping[str, float]


def folder_of(root: Path, step: int) -> Path:
    """Return the folder of a step's checkpoint; names sort by step."""
    return root / f"step_{step:09d}"


def save(root: Path, task: Task, optimizer: torch.optim.Optimizer | None, state: State) -> Path:
    """Write a checkpoint under `root` to a temporary name, flush it to the disk, and rename it."""
    folder = folder_of(root, state.step)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    safetensors.torch.save_file(_contiguous(task.trained_state()), partial / "model.safetensors")
    moments = _optimizer_tensors(task, optimizer) if optimizer else {}
    safetensors.torch.save_file(_contiguous(moments), partial / "optimizer.safetensors")
    (partial / "state.json").write_text(json.dumps(_state_json(state), indent=1))
    for name in FILES:
        _flush(partial / name)
    _flush(partial)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    _flush(root)
    return folder


def keep(root: Path, num_last: int, best: Path | None) -> None:
    """Delete all but the last `num_last` checkpoints and the best one."""
    for folder in sorted(root.glob("step_*"))[:-num_last]:
        if best is None or folder.name != best.name:
            shutil.rmtree(folder)


def latest(root: Path) -> Path | None:
    """Return the newest whole checkpoint under `root`; a torn one is named in the log and passed over."""
    for folder in sorted(root.glob("step_*"), reverse=True):
        try:
            read_state(folder)
            for name in FILES[:2]:
                with safetensors.safe_open(folder / name, framework="pt"):
                    pass
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            log.warning("checkpoint %s cannot be read (%s); taking the one before it", folder, error)
            continue
        return folder
    return None


def read_state(folder: Path) -> State:
    """Read state.json of a checkpoint.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
        ValueError: it was written by another version of the format.
    """
    path = folder / "state.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no checkpoint: {path.name} is missing")
    record = json.loads(path.read_text())
    if record["version"] != VERSION:
        raise ValueError(f"{path} has version {record['version']}, this release reads {VERSION}")
    return State(
        step=record["step"],
        position=record["position"],
        best=record["best"],
        recipe=eventsam.spec.from_json(record["recipe"]),
        catalog_hash=record["catalog_hash"],
        metrics=record["metrics"],
    )


def load_task(folder: Path, task: Task) -> None:
    """Load a task's trained weights, strictly.

    Raises:
        ValueError: names or shapes differ; the first of them are listed.
    """
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    expected = task.trained_state()
    problems = [f"lacks {name}" for name in sorted(expected.keys() - tensors.keys())]
    problems += [f"has an unknown {name}" for name in sorted(tensors.keys() - expected.keys())]
    problems += [
        f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & tensors.keys())
        if tensors[name].shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(f"checkpoint {folder} does not fit {type(task).__name__}: it {'; '.join(problems[:5])}{more}")
    task.load_state_dict(tensors, strict=False)


def restore(folder: Path, task: Task, optimizer: torch.optim.Optimizer, recipe: Any, catalog_hash: str) -> State:
    """Load weights, optimiser and random state to go on where the checkpoint was written.

    Raises:
        ValueError: the checkpoint is of another recipe or another catalog; the differences are listed.
    """
    state = read_state(folder)
    changed = eventsam.spec.differences(state.recipe, recipe)
    if changed:
        shown = "\n  ".join(changed[:20])
        raise ValueError(f"checkpoint {folder} is from another recipe:\n  {shown}\nstart a new run, or undo the change")
    if state.catalog_hash != catalog_hash:
        raise ValueError(f"checkpoint {folder} was trained on a catalog with another content; start a new run")
    load_task(folder, task)
    moments = safetensors.torch.load_file(folder / "optimizer.safetensors")
    _load_optimizer(task, optimizer, moments)
    record = json.loads((folder / "state.json").read_text())
    random_state = np.frombuffer(base64.b64decode(record["rng"]["torch"]), dtype=np.uint8).copy()
    torch.set_rng_state(torch.from_numpy(random_state))
    return state


def _state_json(state: State) -> dict[str, Any]:
    return {
        "version": VERSION,
        "step": state.step,
        "position": state.position,
        "best": state.best,
        "metrics": dict(state.metrics),
        "recipe": eventsam.spec.to_json(state.recipe),
        "catalog_hash": state.catalog_hash,
        "rng": {"torch": base64.b64encode(torch.get_rng_state().numpy().tobytes()).decode()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def _named_parameters(task: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {name: parameter for name, parameter in task.named_parameters() if id(parameter) in owned}


def _optimizer_tensors(task: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{kind}/{name}": value
        for name, parameter in _named_parameters(task, optimizer).items()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer(task: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = _named_parameters(task, optimizer)
    for key, value in tensors.items():
        kind, _, name = key.partition("/")
        parameter = parameters[name]
        # AdamW counts steps on the parameter's device when fused, as a float32 scalar.
        optimizer.state[parameter][kind] = value.to(parameter.device)


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
