"""What a training step costs, counted on tensors that hold no numbers: parameters, arithmetic, peak memory."""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, UntypedStorage, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from eventsam.models.sam3d.flow import flow_matching_loss
from eventsam.models.sam3d.generator import Generator
from eventsam.models.sam3d.latents import noise
from eventsam.models.sam3d.presets import Sam3dPreset

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Cost:
    """Of one forward and backward pass. A multiply-add counts as two; bytes include weights, gradients and activations.

    Optimiser states are not included: AdamW adds two numbers per trained parameter.
    """

    num_parameters: int
    num_trained: int
    forward_flops: int
    step_flops: int
    peak_bytes: int


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations make while it is on and that are still held: `now`, and its `peak`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._held: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and note what it made."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self._held:
                self._held.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _free(self, size: int) -> None:
        self.now -= size


def step_cost(build: Callable[[], Model], loss: Callable[[Model], Tensor]) -> Cost:
    """Build a model, take its loss and differentiate it, without memory or arithmetic, and say what that would take.

    Attention is counted as one fused kernel that keeps no scores. Whatever `loss` reads must be made inside it, and it
    cannot branch on a tensor's value. Recomputation by checkpointing is in `step_flops`.
    """
    # Two passes: what counts the arithmetic holds on to tensors.
    with FakeTensorMode(), LiveBytes() as memory:
        model = build()
        memory.peak = memory.now
        loss(model).backward()  # type: ignore[no-untyped-call]
        peak_bytes = memory.peak
        model.zero_grad()
        with FlopCounterMode(display=False) as flops:
            total = loss(model)
            forward_flops = flops.get_total_flops()
            total.backward()  # type: ignore[no-untyped-call]
    parameters = list(model.parameters())
    return Cost(
        num_parameters=sum(parameter.numel() for parameter in parameters),
        num_trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        forward_flops=forward_flops,
        step_flops=flops.get_total_flops(),
        peak_bytes=peak_bytes,
    )


def generator_cost(
    preset: Sam3dPreset,
    batch: int,
    *,
    checkpointing: bool = True,
    frozen: bool = False,
    dtype: torch.dtype = torch.bfloat16,
) -> Cost:
    """Return the cost of one flow-matching step of the generator on full conditions.

    With `frozen` only the condition takes a gradient, as in stage 2, whose fusion is trained through the generator.
    """

    def build() -> Generator:
        generator = Generator(preset, checkpointing=checkpointing)
        for parameter in generator.parameters():
            parameter.data = parameter.data.to(dtype)
        return generator.freeze() if frozen else generator

    def loss(generator: Generator) -> Tensor:
        rng = torch.Generator()
        tokens = (batch, preset.num_condition_tokens, preset.condition_width)
        condition = torch.zeros(tokens, dtype=dtype, requires_grad=True)
        return flow_matching_loss(generator, noise(preset, batch, rng), condition, rng=rng).total

    return step_cost(build, loss)
