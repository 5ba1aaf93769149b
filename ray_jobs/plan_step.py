"""What one training step costs, found by running it on two samples and on three: from there it grows by a line."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from eventsam.loading import Data
from eventsam.sample import check_key
from eventsam.tasks.task import Batch, Task
from ray_jobs.plan_devices import Device

BatchOf = Callable[[int], Batch]
OPTIMIZER_PASSES = 7
"""AdamW reads parameter, gradient and both moments, and writes parameter and moments."""


@dataclass(frozen=True)
class Line:
    """A number that grows with the samples of a batch: `fixed + per_sample * n`."""

    fixed: float
    per_sample: float

    @classmethod
    def through(cls, two: float, three: float) -> "Line":
        """Return the line through the values at two samples and at three."""
        return cls(max(0.0, 3 * two - 2 * three), max(0.0, three - two))

    def at(self, num_samples: float) -> float:
        """Return the value for a batch."""
        return self.fixed + self.per_sample * num_samples


@dataclass(frozen=True)
class ModelSize:
    """Bytes that a task holds between steps."""

    trained: int
    frozen: int
    buffers: int
    checkpoint_model: int
    num_trained: int
    num_frozen: int

    @property
    def gradients(self) -> int:
        """One number per trained parameter."""
        return self.trained

    @property
    def optimizer(self) -> int:
        """AdamW's two moments."""
        return 2 * self.trained

    @property
    def checkpoint(self) -> int:
        """Model and moments, as safetensors stores them."""
        return self.checkpoint_model + self.optimizer


@dataclass(frozen=True)
class StepCost:
    """Forward and backward of one micro-batch; bytes, but for `num_ops` and `flops`.

    `saved` is what autograd keeps for the backward pass, `traffic` what the operations other than products move,
    `results` are the single results: some grow with the batch, others (gradients) do not.
    """

    num_ops: float
    flops: Line
    traffic: Line
    saved: Line
    results: frozenset[Line]
    batch: Line

    def largest(self, num_samples: float) -> float:
        """Return the bytes of the largest single result."""
        return max((line.at(num_samples) for line in self.results), default=0.0)

    def seconds(self, device: Device, precision: str, num_samples: float) -> float:
        """Return how long forward and backward of a micro-batch take on a device."""
        return (
            self.flops.at(num_samples) / device.flops(precision)
            + self.traffic.at(num_samples) / device.bandwidth
            + self.num_ops * device.op_s
        )


def size_of(task: Task) -> ModelSize:
    """Return what a task's parameters and buffers take."""
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    frozen = [parameter for parameter in task.parameters() if not parameter.requires_grad]
    return ModelSize(
        trained=sum(parameter.nbytes for parameter in trained),
        frozen=sum(parameter.nbytes for parameter in frozen),
        buffers=sum(buffer.nbytes for buffer in task.buffers()),
        checkpoint_model=sum(tensor.nbytes for tensor in task.trained_state().values()),
        num_trained=sum(parameter.numel() for parameter in trained),
        num_frozen=sum(parameter.numel() for parameter in frozen),
    )


def cost_of(task: Task, batch_of: BatchOf, precision: str = "float32") -> StepCost:
    """Run forward and backward on two samples and on three, on the CPU, and return what they cost.

    Not on one: axes of length 1 are broadcast, and take other operations than a batch does. The task's gradients are
    gone afterwards; its weights are as they were.
    """
    task.train()
    torch.manual_seed(0)
    two, three = (_watched_step(task, batch_of(count), precision) for count in (2, 3))
    if len(two.results) == len(three.results):
        results = {Line.through(*pair) for pair in zip(two.results, three.results, strict=True)}
    else:
        results = {Line(0.0, max(three.results) / 3), Line(max(three.results), 0.0)}
    return StepCost(
        num_ops=len(three.results),
        flops=Line.through(two.flops, three.flops),
        traffic=Line.through(two.traffic, three.traffic),
        saved=Line.through(two.saved, three.saved),
        results=frozenset(results),
        batch=Line.through(_nbytes(batch_of(2)), _nbytes(batch_of(3))),
    )


def assumed_batch(task: Task, data: Data) -> BatchOf:
    """Return batches of made-up samples of the shapes that a recipe prepares, for planning without its data.

    Raises:
        ValueError: the recipe does not say how large a sample becomes.
    """
    sizes = {"C": data.representation.num_channels}
    for transform in data.prepare:
        for letter, name in (("H", "height"), ("W", "width"), ("R", "resolution")):
            if isinstance(getattr(transform, name, None), int):
                sizes[letter] = getattr(transform, name)
    unknown = {axis for key in task.reads for axis in check_key(key).shape.split() if axis.isalpha()} - sizes.keys()
    if unknown:
        raise ValueError(f"data.prepare does not say the sizes {', '.join(sorted(unknown))} of a sample")

    def batch_of(count: int) -> Batch:
        return {key: _made_up(key, count, sizes, data) for key in (*task.reads, "sample_index", "position")}

    return batch_of


def _made_up(key: str, count: int, sizes: Mapping[str, int], data: Data) -> Tensor:
    described = check_key(key)
    shape = [sizes.get(axis) or int(axis) for axis in described.shape.split()]
    dtype = np.dtype(data.representation.dtype if key.startswith("event_image") else described.dtypes[0])
    drawn = np.random.default_rng(0).integers(0, 2, (count, *shape))
    return torch.from_numpy(drawn.astype(dtype) if shape else np.arange(count, dtype=np.int64))


@dataclass
class _Watch(TorchDispatchMode):
    """Adds up what the operations of a step do."""

    flops: float = 0.0
    traffic: float = 0.0
    saved: float = 0.0
    results: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.is_view:
            return out
        written = _nbytes(out)
        self.results.append(written)
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.flops += count(*args, **kwargs, out_val=out)
        else:
            self.traffic += written + _nbytes(args)
        return out


def _watched_step(task: Task, batch: Batch, precision: str) -> _Watch:
    watch = _Watch()
    known = {tensor.untyped_storage().data_ptr() for tensor in (*task.parameters(), *task.buffers(), *batch.values())}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in known:
            known.add(place)
            watch.saved += tensor.untyped_storage().nbytes()
        return tensor

    cast = torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()
    with watch, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), cast:
        loss = task(batch)["loss"]
    with watch:
        loss.backward()
    task.zero_grad(set_to_none=True)
    return watch


def _nbytes(values: Any) -> int:
    if isinstance(values, Tensor):
        return values.nbytes
    if isinstance(values, Mapping):
        return sum(_nbytes(value) for value in values.values())
    if isinstance(values, list | tuple):
        return sum(_nbytes(value) for value in values)
    return 0
