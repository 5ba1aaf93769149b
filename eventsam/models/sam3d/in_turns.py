"""Reconstruction on a small device: each part of the model is there only while it works."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from eventsam.models.sam3d.inputs import ConditionInputs
from eventsam.models.sam3d.model import Reconstruction, Sam3d, Sampling


@dataclass(frozen=True)
class PartMemory:
    """Bytes that one part took: its weights, and on a GPU the most that was allocated while it worked (else None)."""

    part: str
    weights: int
    peak: int | None


@torch.no_grad()
def reconstruct_in_turns(
    model: Sam3d,
    inputs: ConditionInputs,
    seeds: Sequence[int],
    device: torch.device | str,
    sampling: Sampling = Sampling(),
    drop: Collection[str] = (),
) -> tuple[Reconstruction, list[PartMemory]]:
    """Return what `model.reconstruct` returns, on `device`, and what each part took there.

    Embedder, generator (with a fusion inside it) and decoder move to the device in turn and back to where they were, so
    the device holds the largest of them and not their sum.
    """
    device, report = torch.device(device), list[PartMemory]()
    inputs = inputs.to(device)
    fusion = [] if model.fusion is None else [model.fusion]
    inside = model.fusing is not None and model.fusing.place == "generator"
    with _visiting("embedder", [model.embedder, *([] if inside else fusion)], device, report):
        condition = model.condition(inputs, drop)
    with _visiting("generator", [model.generator, *(fusion if inside else [])], device, report):
        latents = model.generate(condition, seeds, sampling)
    del condition
    with _visiting("decoder", [model.decoder], device, report):
        return model.decode(latents, inputs), report


@contextmanager
def _visiting(
    part: str, modules: Sequence[nn.Module], device: torch.device, report: list[PartMemory]
) -> Iterator[None]:
    """Move modules to a device and back, and report what was allocated there meanwhile."""
    on_gpu = device.type == "cuda"
    weights = sum(parameter.nbytes for module in modules for parameter in module.parameters())
    homes = [next(module.parameters()).device for module in modules]
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    try:
        for module in modules:
            module.to(device)
        yield
    finally:
        for module, home in zip(modules, homes, strict=True):
            module.to(home)
    report.append(PartMemory(part, weights, torch.cuda.max_memory_allocated(device) if on_gpu else None))
