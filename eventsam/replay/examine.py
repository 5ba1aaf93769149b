"""One step under the lens: losses by part and by sample, the first output that is not finite, gradients by group."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eventsam.faults.bundle import Share
from eventsam.recipe import Recipe
from eventsam.tasks.task import Task

MODEL_ERRORS = (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError)
"""What a model raises for a batch that it cannot compute."""


@dataclass
class Findings:
    """What a step did; `samples` holds each sample's loss alone, NaN where the task cannot be given a single sample."""

    losses: dict[str, float] = field(default_factory=dict)
    samples: dict[str, float] = field(default_factory=dict)
    first_bad: str | None = None
    error: str | None = None
    gradient_norms: dict[str, float] = field(default_factory=dict)
    gradient_norm: float = math.nan


def examine(recipe: Recipe, shares: Sequence[Share], batches: Sequence[Mapping[str, Tensor]]) -> Findings:
    """Compute forward and backward of every worker's share with its own random state; nothing is stepped.

    The gradients of the shares add up to their mean, as those of the workers did.
    """
    task, findings = recipe.task.train(), Findings()
    task.zero_grad(set_to_none=True)
    with _watched_outputs(task, findings):
        for share, batch in zip(shares, batches, strict=True):
            _restore_random(share)
            try:
                for name, value in _backward(task, batch, recipe, len(batches)).items():
                    findings.losses[name] = findings.losses.get(name, 0.0) + value
            except MODEL_ERRORS as error:
                findings.error = f"{type(error).__name__}: {error}"
                break
    findings.gradient_norms = _gradient_norms(task)
    findings.gradient_norm = math.sqrt(sum(norm**2 for norm in findings.gradient_norms.values()))
    for share, batch in zip(shares, batches, strict=True):
        findings.samples |= _losses_alone(task, share, batch, recipe)
    return findings


def all_finite(value: Any) -> bool:
    """Say whether all floating-point tensors in nested containers are finite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in _floating(value))


def _backward(task: Task, batch: Mapping[str, Tensor], recipe: Recipe, num_shares: int) -> dict[str, float]:
    size, num_parts = len(next(iter(batch.values()))), recipe.budget.micro_batches
    means: dict[str, float] = {}
    for part in range(num_parts):
        chosen = slice(part * size // num_parts, (part + 1) * size // num_parts)
        with _precision(recipe):
            losses = task({name: tensor[chosen] for name, tensor in batch.items()})
        (losses["loss"] / (num_parts * num_shares)).backward()
        for name, value in losses.items():
            means[name] = means.get(name, 0.0) + float(value.detach()) / (num_parts * num_shares)
    return means


@torch.no_grad()
def _losses_alone(task: Task, share: Share, batch: Mapping[str, Tensor], recipe: Recipe) -> dict[str, float]:
    found = {}
    for index, sample_id in enumerate(share.sample_ids):
        _restore_random(share)
        try:
            with _precision(recipe):
                losses = task({name: tensor[index : index + 1] for name, tensor in batch.items()})
            found[sample_id] = float(losses["loss"])
        except MODEL_ERRORS:
            found[sample_id] = math.nan
    return found


def _precision(recipe: Recipe) -> AbstractContextManager[Any]:
    if recipe.budget.precision == "float32":
        return nullcontext()
    return torch.autocast("cpu", dtype=torch.bfloat16)


def _restore_random(share: Share) -> None:
    if "cpu" in share.random_state:
        torch.set_rng_state(share.random_state["cpu"])


@contextmanager
def _watched_outputs(task: nn.Module, findings: Findings) -> Iterator[None]:
    """Note the first module, in the order of computing, whose output is not finite; inner modules come first."""
    hooks = [module.register_forward_hook(_look(name, findings)) for name, module in task.named_modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _look(name: str, findings: Findings) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        bad = None if findings.first_bad else next((t for t in _floating(output) if not torch.isfinite(t).all()), None)
        if bad is None:
            return
        num_nan, num_inf = int(torch.isnan(bad).sum()), int(torch.isinf(bad).sum())
        origin = "from finite inputs" if all_finite(inputs) else "from inputs that were not finite"
        findings.first_bad = (
            f"{name or 'the task itself'} ({type(module).__name__}): output {tuple(bad.shape)} holds {num_nan} NaN and "
            f"{num_inf} infinite of {bad.numel()} values, {origin}"
        )

    return hook


def _floating(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _floating(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _floating(item)


def _gradient_norms(task: Task) -> dict[str, float]:
    """Norms by the first two parts of the parameters' names."""
    squares: dict[str, float] = {}
    for name, parameter in task.named_parameters():
        if parameter.grad is not None:
            group = ".".join(name.split(".")[:2])
            squares[group] = squares.get(group, 0.0) + float(parameter.grad.double().square().sum())
    return {name: math.sqrt(value) for name, value in squares.items()}
