"""What a checkpoint holds: weights, optimiser, random state and position; copied to memory, and loaded again."""

import base64
import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

import eventsam.spec
from eventsam.provenance import code_hash
from eventsam.tasks.task import Task

log = logging.getLogger(__name__)

VERSION = 2
READABLE_VERSIONS = (1, 2)
MODEL, OPTIMIZER, STATE = FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


@dataclass(frozen=True)
class State:
    """Where a run stands: optimiser steps taken and samples consumed, with everything needed to go on.

    `best` is the best validation so far and `best_step` its step; `validated_step` is the step of `metrics`.
    """

    step: int
    position: int
    best: float | None
    recipe: Any
    catalog_hash: str
    metrics: Mapping[str, float]
    best_step: int | None = None
    validated_step: int | None = None
    num_workers: int = 1
    code_hash: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint in host memory: training may go on while it is written. `record` becomes state.json."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    record: Mapping[str, Any]


def snapshot(task: Task, optimizer: torch.optim.Optimizer | None, state: State) -> Snapshot:
    """Copy a run's state to host memory, the random state of this very moment included."""
    moments = _optimizer_tensors(task, optimizer) if optimizer else {}
    tensors = {MODEL: _copied(task.trained_state()), OPTIMIZER: _copied(moments)}
    return Snapshot(state.step, tensors, _state_json(state))


def expected_bytes(task: Task, optimizer: torch.optim.Optimizer) -> int:
    """Return about how many bytes a checkpoint takes: the weights and two moments of the trained parameters."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in task.trained_state().values())
    trained: list[Tensor] = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return weights + 2 * sum(parameter.numel() * parameter.element_size() for parameter in trained)


def state_of(record: Mapping[str, Any], source: object) -> State:
    """Return the state that a state.json records.

    Raises:
        ValueError: it was written by another version of the format.
    """
    if record["version"] not in READABLE_VERSIONS:
        readable = " and ".join(map(str, READABLE_VERSIONS))
        raise ValueError(f"{source} has version {record['version']}, this release reads {readable}")
    best_step = record.get("best_step") if record["best"] is not None else None
    return State(
        step=record["step"],
        position=record["position"],
        best=record["best"],
        recipe=eventsam.spec.from_json(record["recipe"]),
        catalog_hash=record["catalog_hash"],
        metrics=record["metrics"],
        best_step=best_step,
        # The first version never wrote a checkpoint of a step whose validation was still due.
        validated_step=record.get("validated_step", record["step"]),
        num_workers=record.get("num_workers", 1),
        code_hash=record.get("code_hash", ""),
    )


def read_state(folder: Path) -> State:
    """Read state.json of a checkpoint.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
        ValueError: it was written by another version of the format.
    """
    path = folder / STATE
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no checkpoint: {path.name} is missing")
    return state_of(json.loads(path.read_text()), path)


def check_catalog(state: State, folder: object, catalog_hash: str, accept_new_catalog: bool = False) -> None:
    """Refuse to go on with a catalog whose content changed, unless that was accepted; then say so in the log.

    Raises:
        ValueError: the hashes differ; both are shown.
    """
    if state.catalog_hash == catalog_hash:
        return
    hashes = f"it was trained on catalog {_shown(state.catalog_hash)}, the catalog now is {_shown(catalog_hash)}"
    if not accept_new_catalog:
        raise ValueError(
            f"checkpoint {folder} belongs to a catalog with another content: {hashes}. Start a new run, or go on all "
            f"the same with --accept-new-catalog: from step {state.step} on, the samples come in the new one's order"
        )
    log.warning("checkpoint %s goes on with a catalog of another content: %s", folder, hashes)


def warn_of_other_code(state: State, folder: object) -> None:
    """Say in the log when the code changed since a checkpoint was written: the losses may differ."""
    if state.code_hash and state.code_hash != code_hash():
        log.warning(
            "checkpoint %s was written by code %s, this is code %s: the losses may differ from an uninterrupted run's",
            folder, state.code_hash, code_hash(),
        )  # fmt: skip


def load_task(folder: Path, task: Task) -> None:
    """Load a task's trained weights, strictly.

    Raises:
        ValueError: names or shapes differ; the first of them are listed.
    """
    tensors = safetensors.torch.load_file(folder / MODEL)
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


def restore(
    folder: Path,
    task: Task,
    optimizer: torch.optim.Optimizer,
    recipe: Any,
    catalog_hash: str,
    *,
    accept_new_catalog: bool = False,
) -> State:
    """Load weights, optimiser and random state to go on where the checkpoint was written.

    Raises:
        ValueError: the checkpoint is of another recipe or another catalog; the differences are listed.
    """
    state = read_state(folder)
    changed = eventsam.spec.differences(state.recipe, recipe)
    if changed:
        shown = "\n  ".join(changed[:20])
        raise ValueError(f"checkpoint {folder} is from another recipe:\n  {shown}\nstart a new run, or undo the change")
    check_catalog(state, folder, catalog_hash, accept_new_catalog)
    warn_of_other_code(state, folder)
    load_task(folder, task)
    moments = safetensors.torch.load_file(folder / OPTIMIZER)
    _load_optimizer(task, optimizer, moments)
    _set_random_state(json.loads((folder / STATE).read_text())["rng"])
    return state


def _state_json(state: State) -> dict[str, Any]:
    return {
        "version": VERSION,
        "step": state.step,
        "position": state.position,
        "best": state.best,
        "best_step": state.best_step,
        "validated_step": state.validated_step,
        "metrics": dict(state.metrics),
        "recipe": eventsam.spec.to_json(state.recipe),
        "catalog_hash": state.catalog_hash,
        "code_hash": state.code_hash or code_hash(),
        "num_workers": state.num_workers,
        "rng": _random_state(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def _random_state() -> dict[str, str]:
    states = {"torch": torch.get_rng_state()}
    if _cuda_in_use():
        states["cuda"] = torch.cuda.get_rng_state()
    return {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in states.items()}


def _set_random_state(record: Mapping[str, str]) -> None:
    states = {
        name: torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=np.uint8).copy())
        for name, text in record.items()
    }
    torch.set_rng_state(states["torch"])
    if "cuda" in states and _cuda_in_use():
        torch.cuda.set_rng_state(states["cuda"])


def _cuda_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


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


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Always a copy: on a CPU, the tensors themselves change with the next step.
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _shown(catalog_hash: str) -> str:
    content, _, selection = catalog_hash.partition("/")
    return f"{content[:12]} {selection}".strip() or "(none)"
