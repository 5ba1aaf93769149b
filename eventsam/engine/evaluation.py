"""A task measured on batches, its metric states merged over all workers."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from eventsam.engine.run import Run
from eventsam.metrics.state import MetricState
from eventsam.tasks.task import Task


@torch.no_grad()
def evaluate(task: Task, batches: Iterable[Mapping[str, Any]], run: Run) -> dict[str, MetricState]:
    """Return the task's metric states over all batches of all workers.

    Raises:
        ValueError: there was no batch.
    """
    task.to(run.device).eval()
    states: dict[str, MetricState] = {}
    for host_batch in batches:
        for name, state in task.evaluate(to_device(host_batch, run.device)).items():
            states[name] = states[name].merge(state) if name in states else state
    if not states:
        raise ValueError("there was no batch to evaluate")
    for name, state in states.items():
        shares = [type(state).from_array(rows) for rows in run.gather(state.to_array())]
        merged = shares[0]
        for share in shares[1:]:
            merged = merged.merge(share)
        states[name] = merged
    return states


def summarize(states: Mapping[str, MetricState]) -> dict[str, float]:
    """Return one number per metric: its mean."""
    return {name: state.mean() for name, state in states.items()}


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """Return the batch as tensors on the device; the copy to a GPU is pinned and does not block."""
    tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
    if device.type != "cuda":
        return tensors
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()}
