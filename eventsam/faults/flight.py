"""What a worker is doing: the step under way, its batch, and the random state from which it started."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class FlightRecorder:
    """The last batch that a worker was given, kept until the next one; nothing is copied but a few kilobytes."""

    step: int = -1
    batch: Mapping[str, Any] = field(default_factory=dict)
    random_state: Mapping[str, Tensor] = field(default_factory=dict)

    def begin(self, step: int, batch: Mapping[str, Any]) -> None:
        """Note the step (0-based, as many as were taken before it) that is about to be computed."""
        self.step, self.batch, self.random_state = step, batch, random_state()


def random_state() -> dict[str, Tensor]:
    """Return the states of torch's generators, as tensors of bytes."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def digest(batch: Mapping[str, Any]) -> str:
    """Return a hash of a batch's keys, shapes and values."""
    whole = hashlib.sha256()
    for name in sorted(batch):
        tensor = torch.as_tensor(batch[name]).detach().cpu().contiguous()
        whole.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        whole.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.ndim else tensor.numpy().tobytes())
    return whole.hexdigest()
