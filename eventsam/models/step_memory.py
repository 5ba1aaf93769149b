"""How much memory a training step takes, found without running it: on tensors that have shapes and no data."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ADAM_MOMENTS = 2

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a step: `peak` is the most that is held at once, with weights, gradients and optimiser among it."""

    weights: int
    gradients: int
    optimizer: int
    peak: int

    def __str__(self) -> str:
        parts = {"weights": self.weights, "gradients": self.gradients, "optimiser": self.optimizer, "peak": self.peak}
        return ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in parts.items())


def estimate_step(build: Callable[[], Module], loss_of: Callable[[Module], Tensor]) -> StepMemory:
    """Estimate forward and backward of a step with Adam in float32.

    `build` makes the module, `loss_of` the inputs and from them the loss. Both work on tensors without data: a model of
    any size takes no memory here, and no kernel runs. The operations are those of the CPU; what a GPU's own allocator
    and libraries add (some percent, and about a gigabyte) is not in it.
    """
    with torch.device("meta"):
        module = build()
    with FakeTensorMode(allow_non_fake_inputs=True), _Live() as live:
        # From "meta" to a device that is pretended to be there: only that one has autocast and fused attention.
        module.to_empty(device="cpu")
        trained = sum(p.nbytes for p in module.parameters() if p.requires_grad)
        weights = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
        loss_of(module).backward()  # type: ignore[no-untyped-call]
    return StepMemory(weights, trained, ADAM_MOMENTS * trained, live.peak + ADAM_MOMENTS * trained)


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that are alive, and the most that ever were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage())
        return out

    def _hold(self, storage: torch.UntypedStorage) -> None:
        place = storage._cdata
        if place in self._seen:
            return
        size = storage.nbytes()
        self._seen.add(place)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, place, size)

    def _release(self, place: int, size: int) -> None:
        self._seen.discard(place)
        self.held -= size
