"""One training run, or its reading alone, with Ray or without: the program that `ray_overhead` times.

python -m benchmarks.training_loop plain|ray --root CATALOG [--alone] [--threads N] [--readers N] [--samples N]
Prints one JSON line: samples/s and CPU seconds per sample once warm, the share of the time spent waiting for data,
and what starting up took.
`plain` is torch's DataLoader with N reading processes, in the run's own order; `ray` is Ray Data with at most N
reading tasks, and Ray Train with one worker. Both read with the same Loader and train with the same engine.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STARTED = time.time()

import numpy as np  # noqa: E402  (the clock runs while torch and Ray are imported)
import psutil  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from datasets_catalog import load_dataset  # noqa: E402
from eventsam.catalog import open_catalog  # noqa: E402
from eventsam.engine import LocalRun, fit  # noqa: E402
from eventsam.loading import Loader, make_loader  # noqa: E402
from eventsam.metrics_log import MetricsLog  # noqa: E402
from eventsam.recipe import Recipe, load_recipe  # noqa: E402
from eventsam.spec import Spec, build, replace  # noqa: E402

WARM_SHARE = 0.3
"""Of the run, what passes before the clock of the steady rate starts: compilation, first blocks, full buffers."""


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    side: str
    root: Path
    alone: bool
    threads: int
    readers: int
    samples: int
    batch_size: int
    pace: float = 0.0


@dataclass
class Clock(LocalRun):
    """A local run that notes when each record came."""

    times: list[tuple[float, float]] = field(default_factory=list)

    def report(self, record: Mapping[str, float]) -> None:
        """Keep the time with the step."""
        super().report(record)
        self.times.append((record["step"], time.time()))


class CpuMeter(threading.Thread):
    """Notes every half second how many CPU seconds this process and all below it have used.

    Unlike samples per second, they hardly change when other programs share the machine.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.used: dict[int, float] = {}
        self.notes: list[tuple[float, float]] = []

    def run(self) -> None:
        """Note until the program ends."""
        me = psutil.Process()
        while True:
            for process in (me, *me.children(recursive=True)):
                try:
                    times = process.cpu_times()
                except psutil.Error:
                    continue  # it ended; what it used stays noted
                self.used[process.pid] = times.user + times.system
            self.notes.append((time.time(), sum(self.used.values())))
            time.sleep(0.5)

    def between(self, start: float, stop: float) -> float:
        """Return the CPU seconds used between two times."""
        times, seconds = np.array(self.notes).T
        return float(np.interp(stop, times, seconds) - np.interp(start, times, seconds))


@dataclass(frozen=True)
class GlobalBatches(Dataset[dict[str, Any]]):
    """Batch i of the run, read whole by one of the DataLoader's processes."""

    loader: Loader
    batch_size: int

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the batch's arrays."""
        first = index * self.batch_size
        return self.loader.batch(np.arange(first, first + self.batch_size, dtype=np.int64))


METER = CpuMeter()


def dataloader(loader: Loader, options: Options) -> Iterable[Mapping[str, Any]]:
    """Return torch's loader of the same batches in the same order; four of them ahead, as Ray's iterator has."""
    num_batches = options.samples // options.batch_size
    batches = GlobalBatches(loader, options.batch_size)
    return DataLoader(
        batches, batch_size=None, sampler=range(num_batches), num_workers=options.readers, prefetch_factor=4
    )


def recipe_of(options: Options) -> Spec:
    """Return stage 0 at the demo's size; nothing is saved or validated before the end."""
    recipe = load_recipe("reconstruct")
    values = {"data.root": str(options.root), "budget.num_samples": options.samples, "budget.log_every": 4,
              "budget.global_batch_size": options.batch_size, "budget.checkpoint_every": 10**9}  # fmt: skip
    for path, value in values.items():
        recipe = replace(recipe, path, value)
    return recipe


def train_plain(options: Options, folder: Path) -> dict[str, Any]:
    """Train in this process from a DataLoader."""
    torch.set_num_threads(options.threads)
    imported = time.time()
    torch.manual_seed(0)
    recipe: Recipe = build(recipe_of(options))
    loader = training_loader(recipe)
    run = Clock(folder)
    prepared = time.time()
    fit(recipe.task, lambda position: dataloader(loader, options), optimizer=recipe.optimizer, budget=recipe.budget,
        run=run, folder=folder)  # fmt: skip
    waits = [(record["data_wait_s"], record["step_s"]) for record in run.records]
    phases = {"imports": imported - STARTED, "model and catalog": prepared - imported}
    return summary(options, run.times, waits, phases, prepared)


def train_on_ray(options: Options, folder: Path) -> dict[str, Any]:
    """Train on one Ray Train worker from Ray Data."""
    from ray_jobs.cluster import Resources, connected
    from ray_jobs.data_plane import DataPlane
    from ray_jobs.train import launch

    imported = time.time()
    resources = Resources(1, threads_per_worker=options.threads, data=DataPlane(reader_cpus=options.readers))
    with connected():
        joined = time.time()
        launch(recipe_of(options), folder, resources)
    # The validation at the end is another stream; its record comes after the last training step's.
    records = [record for record in MetricsLog(folder / "metrics.jsonl").read() if "data_wait_s" in record]
    times = [(record["step"], record["time"]) for record in records]
    validated = [record for record in records if any(name.startswith("val/") for name in record)]
    times, records = times[: len(times) - len(validated)], records[: len(records) - len(validated)]
    waits = [(record["data_wait_s"], record["step_s"]) for record in records]
    return summary(options, times, waits, {"imports": imported - STARTED, "start Ray": joined - imported}, joined)


def read_plain(options: Options, folder: Path) -> dict[str, Any]:
    """Take the batches and throw them away."""
    loader = training_loader(build(recipe_of(options)))
    return drained(options, iter(dataloader(loader, options)), time.time())


def read_on_ray(options: Options, folder: Path) -> dict[str, Any]:
    """Take Ray Data's batches and throw them away."""
    from ray_jobs import pipeline
    from ray_jobs.cluster import connected
    from ray_jobs.data_plane import DataPlane

    loader = training_loader(build(recipe_of(options)))
    with connected():
        started = time.time()
        layout = pipeline.layout_of(loader, 0, options.samples, options.batch_size, 1)
        stream = pipeline.stream(loader, layout)
        stream.context.execution_options = DataPlane(reader_cpus=options.readers).execution_options()
        return drained(options, pipeline.batches(stream, layout, 0), started)


def drained(options: Options, batches: Iterator[Mapping[str, Any]], started: float) -> dict[str, Any]:
    """Time the arrival of every batch; a trainer of a stated pace sleeps for its step.

    A step begins when the one before it ended, where its batch was there: being handed it costs a GPU no time.
    """
    times, ended = [], time.time()
    for index, _ in enumerate(batches):
        if options.pace:
            step_s, now = options.batch_size / options.pace, time.time()
            ended = (ended if now - ended < step_s / 2 else now) + step_s
            time.sleep(max(0.0, ended - now))
        times.append((index + 1.0, time.time()))
    return summary(options, times, [], {}, started)


def training_loader(recipe: Recipe) -> Loader:
    """Return the loader of a recipe's training samples."""
    dataset = load_dataset(recipe.data.dataset)
    catalog = open_catalog(dataset, Path(recipe.data.root))
    return make_loader(dataset, catalog, recipe.data, recipe.task.reads, seed=recipe.seed, training=True)


def summary(
    options: Options,
    times: list[tuple[float, float]],
    waits: list[tuple[float, float]],
    phases: Mapping[str, float],
    prepared: float,
) -> dict[str, Any]:
    """Return the steady rate between the first record after the warm-up and the last, and the seconds of each phase."""
    warm = max(1, round(WARM_SHARE * len(times)))
    (first_step, first_time), (last_step, last_time) = times[warm], times[-1]
    waited = sum(wait for wait, _ in waits[warm + 1 :])
    total = sum(wait + step for wait, step in waits[warm + 1 :])
    num_samples = (last_step - first_step) * options.batch_size
    first = {"to the first record": times[0][1] - prepared, "in all": times[0][1] - STARTED}
    return {
        "samples_per_s": num_samples / (last_time - first_time),
        "cpu_s_per_sample": METER.between(first_time, last_time) / num_samples,
        "waiting_share": waited / total if total else 0.0,
        "start_s": {**phases, **first},
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("plain", "ray"))
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--alone", action="store_true", help="read only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--readers", type=int, default=1)
    parser.add_argument("--samples", type=int, default=960)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--pace", type=float, default=0.0, help="with --alone: take so many samples/s at most")
    options = Options(**vars(parser.parse_args()))
    programs = {("plain", False): train_plain, ("plain", True): read_plain, ("ray", False): train_on_ray,
                ("ray", True): read_on_ray}  # fmt: skip
    METER.start()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(programs[options.side, options.alone](options, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
