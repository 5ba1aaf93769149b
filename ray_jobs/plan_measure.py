"""A few steps of the real training on one batch, in this process: what the predictions are held against."""

import dataclasses
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch

from eventsam import checkpoint
from eventsam.engine import LocalRun, fit
from eventsam.loading import Loader
from eventsam.spec import build
from ray_jobs.cluster import Resources
from ray_jobs.plan import Parts, micro_batch, peak_bytes, step_seconds
from ray_jobs.plan_devices import GPUS, Device, this_cpu
from ray_jobs.plan_step import cost_of, size_of

NUM_WARMUP = 2
NUM_STEPS = 6
READ_S = 3.0


@dataclass(frozen=True)
class Comparison:
    """A predicted number beside the measured one; None where there was nothing to predict from."""

    name: str
    predicted: float | None
    measured: float
    unit: str

    @property
    def ratio(self) -> float | None:
        """Measured by predicted."""
        return self.measured / self.predicted if self.predicted else None


def measure(parts: Parts, resources: Resources) -> tuple[Device, list[Comparison]]:
    """Train a few steps on one worker's share of a batch, here, and compare with what is predicted for this machine.

    The steps are the engine's own, checkpoint included (in a temporary folder).

    Raises:
        ValueError: the recipe could not be built, or says nothing of its samples' shapes.
    """
    if parts.task is None or parts.batch_of is None:
        raise ValueError(f"nothing can be measured: {'; '.join(parts.missing)}")
    micro = round(micro_batch(parts.budget, resources))
    share = micro * parts.budget.micro_batches
    # A share of this run's: what one worker does between two exchanges of gradients.
    alone = dataclasses.replace(resources, num_workers=1)
    budget = dataclasses.replace(
        parts.budget, num_samples=(NUM_WARMUP + NUM_STEPS) * share, global_batch_size=share, log_every=1,
        validate_every=0, checkpoint_every=10**9, compile=False,
    )  # fmt: skip
    here = this_device(resources.num_threads)
    with tempfile.TemporaryDirectory() as folder, _threads(resources.num_threads), watched_growth() as growth:
        steps, saved = _train(parts, budget, share, Path(folder), here)
    size, cost = size_of(parts.task), cost_of(parts.task, parts.batch_of, budget.precision)
    found = [
        Comparison("step", step_seconds(size, cost, budget, alone, here), median(steps), "s"),
        Comparison("memory per worker", peak_bytes(size, cost, budget, alone), growth.num_bytes, "bytes"),
        Comparison("checkpoint", size.checkpoint, saved, "bytes"),
        Comparison("first step", None, steps[0], "s"),
    ]
    if parts.loader is not None:
        read = seconds_per_sample(parts.loader)
        found.append(Comparison("reading one sample", None, read, "s"))
        found.append(Comparison("CPUs that read, per worker", None, read * share / median(steps), "number"))
    return here, found


def this_device(num_threads: int) -> Device:
    """Return the device that a worker would use on this machine."""
    if not torch.cuda.is_available():
        return this_cpu(num_threads)
    name = torch.cuda.get_device_name()
    known = [device for key, device in GPUS.items() if key.partition("-")[0] in name.replace(" ", "")]
    if not known:
        raise ValueError(f"{name} is in no table of this project (there are: {', '.join(GPUS)})")
    return max(known, key=lambda device: -abs(device.memory - torch.cuda.get_device_properties(0).total_memory))


def seconds_per_sample(loader: Loader) -> float:
    """Return how long one CPU takes to read, augment and represent a sample, files warm."""
    count = min(8, loader.order.num_samples)
    loader.batch(np.arange(count))
    durations: list[float] = []
    while not durations or (sum(durations) < READ_S and len(durations) < 20):
        started = time.perf_counter()
        loader.batch(np.arange(count))
        durations.append(time.perf_counter() - started)
    return median(durations) / count


@dataclass
class Growth:
    """The most bytes by which this process, or its GPU memory, grew."""

    num_bytes: int = 0


@contextmanager
def watched_growth(interval_s: float = 0.002) -> Iterator[Growth]:
    """Watch this process's resident memory for the time of the block; on a GPU, its allocator's own peak instead."""
    growth, ended, me = Growth(), threading.Event(), psutil.Process()
    before = me.memory_info().rss
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()

    def watch() -> None:
        while not ended.wait(interval_s):
            growth.num_bytes = max(growth.num_bytes, me.memory_info().rss - before)

    thread = threading.Thread(target=watch, name="memory-growth", daemon=True)
    thread.start()
    try:
        yield growth
    finally:
        ended.set()
        thread.join()
        if torch.cuda.is_available():
            growth.num_bytes = torch.cuda.max_memory_allocated()


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(parts: Parts, budget: Any, share: int, folder: Path, device: Device) -> tuple[list[float], int]:
    """Return the seconds of each step after the warm-up, the very first in front, and the checkpoint's bytes."""
    assert parts.batch_of is not None
    batch = dict(parts.batch_of(share))
    run = LocalRun(folder, torch.device("cpu" if device.name.startswith("CPU") else "cuda"))

    def batches(position: int) -> Iterator[Mapping[str, Any]]:
        while True:
            yield batch

    fit(
        build(parts.recipe.arguments["task"], "task"),
        batches,
        optimizer=parts.optimizer,
        budget=budget,
        run=run,
        folder=folder,
        recipe=parts.recipe,
    )
    steps = [record["step_s"] for record in run.records if "step_s" in record]
    saved = checkpoint.latest(folder)
    assert saved is not None
    return [steps[0], *steps[NUM_WARMUP:]], sum(path.stat().st_size for path in saved.glob("*.safetensors"))
