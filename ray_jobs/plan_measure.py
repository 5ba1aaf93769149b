"""A few steps of the real training on one batch, in a process of their own: what predictions are held against.

`python -m ray_jobs.plan_measure` is that process; memory that an older one had freed before would hide what steps take.
"""

import dataclasses
import json
import subprocess
import sys
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
from torch import nn

from eventsam import checkpoint
from eventsam.engine import LocalRun, fit
from eventsam.loading import Loader
from eventsam.spec import build, from_json, to_json
from eventsam.throughput import Pipeline, ReaderCost, readers_needed
from ray_jobs.cluster import Resources
from ray_jobs.pipeline import BYTES_PER_BLOCK, SAMPLES_PER_BLOCK
from ray_jobs.plan import Parts, build_parts, micro_batch, peak_bytes, step_seconds
from ray_jobs.plan_devices import GPUS, Device, this_cpu
from ray_jobs.plan_step import cost_of, size_of
from ray_jobs.plan_table import Plan

NUM_WARMUP = 2
NUM_STEPS = 6
READ_S = 3.0
TIMEOUT_S = 1800


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


@dataclass(frozen=True)
class Measured:
    """What a few steps took: seconds of each step after the warm-up and of the very first, bytes, reading."""

    steps: tuple[float, ...]
    first_step: float
    peak_bytes: int
    checkpoint_bytes: int
    read_s: float | None


def measure(parts: Parts, resources: Resources, plan: Plan, planned: Device) -> tuple[Device, list[Comparison]]:
    """Train a few steps on one worker's share of a batch, here, and compare with what is predicted for this machine.

    The steps are the engine's own, checkpoint included (in a temporary folder). What reading costs here says how many
    cores have to read for one worker: beside the steps measured here, and beside those of the `planned` device.

    Raises:
        ValueError: the recipe could not be built, or the steps failed; the reason is shown.
    """
    if parts.task is None or parts.batch_of is None:
        raise ValueError(f"nothing can be measured: {'; '.join(parts.missing)}")
    share = round(micro_batch(parts.budget, resources)) * parts.budget.micro_batches
    request = {"recipe": to_json(parts.recipe), "share": share, "num_threads": resources.num_threads}
    process = subprocess.run(
        [sys.executable, "-m", "ray_jobs.plan_measure"],
        input=json.dumps(request), capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    if process.returncode:
        raise ValueError(f"the measured steps failed: {(process.stderr.strip().splitlines() or ['no reason'])[-1]}")
    answer = json.loads(process.stdout.splitlines()[-1])
    found = Measured(**(answer | {"steps": tuple(answer["steps"])}))
    here = this_device(resources.num_threads)
    # What one worker does between two exchanges of gradients: the share is its whole batch.
    budget = dataclasses.replace(parts.budget, global_batch_size=share)
    alone = dataclasses.replace(resources, num_workers=1)
    size, cost = size_of(parts.task), cost_of(parts.task, parts.batch_of, budget.precision)
    step = median(found.steps)
    rows = [
        Comparison("step", step_seconds(size, cost, budget, alone, here), step, "s"),
        Comparison("memory per worker", peak_bytes(size, cost, budget, alone), found.peak_bytes, "bytes"),
        Comparison("checkpoint", size.checkpoint, found.checkpoint_bytes, "bytes"),
        Comparison("first step", None, found.first_step, "s"),
    ]
    if found.read_s is not None and parts.loader is not None:
        rows.append(Comparison("reading one sample", None, found.read_s, "s"))
        cost = ReaderCost(found.read_s, plan.value("sent per sample"))
        steps = {"CPUs that read, here": step}
        if planned.name != here.name:
            steps[f"CPUs that read, per {planned.name}"] = plan.value("step")
        rows += [
            Comparison(name, None, readers_for(cost, share / seconds), "number") for name, seconds in steps.items()
        ]
    return here, rows


def readers_for(cost: ReaderCost, samples_per_s: float) -> int:
    """Return the reading cores that one trainer of a rate needs, by the model of the pipeline."""
    samples = max(1, min(SAMPLES_PER_BLOCK, int(BYTES_PER_BLOCK // cost.bytes)))
    return readers_needed(Pipeline(cost, 1, samples_per_s, samples_per_block=samples))


def measured_here(recipe: Any, share: int, num_threads: int) -> Measured:
    """Train a recipe for a few steps of `share` samples in this process."""
    torch.set_num_threads(num_threads)
    parts = build_parts(recipe)
    assert parts.batch_of is not None
    batch = dict(parts.batch_of(share))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _load_libraries(device)
    budget = dataclasses.replace(
        parts.budget, num_samples=(NUM_WARMUP + NUM_STEPS) * share, global_batch_size=share, log_every=1,
        validate_every=0, checkpoint_every=10**9, compile=False,
    )  # fmt: skip

    def batches(position: int) -> Iterator[Mapping[str, Any]]:
        while True:
            yield batch

    with tempfile.TemporaryDirectory() as name, watched_growth() as growth:
        folder = Path(name)
        run = LocalRun(folder, device)
        task = build(recipe.arguments["task"], "task")
        fit(task, batches, optimizer=parts.optimizer, budget=budget, run=run, folder=folder, recipe=recipe)
        steps = [record["step_s"] for record in run.records if "step_s" in record]
        saved = checkpoint.latest(folder)
        assert saved is not None
        saved_bytes = sum(path.stat().st_size for path in saved.glob("*.safetensors"))
    read_s = seconds_per_sample(parts.loader) if parts.loader is not None else None
    return Measured(tuple(steps[NUM_WARMUP:]), steps[0], growth.num_bytes, saved_bytes, read_s)


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


def _load_libraries(device: torch.device) -> None:
    """Take one step with a tiny model: what the libraries load at first use is theirs, not the recipe's."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 8)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(2, 3, 16, 16, device=device)).sum().backward()
    optimizer.step()


def main() -> None:
    """Answer one request from standard input on standard output."""
    request = json.loads(sys.stdin.read())
    found = measured_here(from_json(request["recipe"]), request["share"], request["num_threads"])
    sys.stdout.write(json.dumps(dataclasses.asdict(found)) + "\n")


if __name__ == "__main__":
    main()
