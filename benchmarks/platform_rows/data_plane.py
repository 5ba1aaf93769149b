"""The pipeline's model against Ray Data, at one and two reading CPUs: samples/s predicted and delivered.

The trainer is one that takes no CPU here, as a GPU does not: it sleeps for its step.
"""

import json
import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.platform_rows.ray_overhead import rendered
from benchmarks.race import Row
from benchmarks.training_loop import Options, recipe_of, training_loader
from eventsam.spec import build
from eventsam.throughput import Pipeline, ReaderCost, measure_reader, readers_needed, simulate
from ray_jobs.pipeline import SAMPLES_PER_BLOCK

log = logging.getLogger(__name__)

BATCH_SIZE = 32
TRAINERS = {"endless": math.inf, "1.4 readers' worth": 1.4}


def rows(quick: bool) -> Iterator[Row]:
    """Measure a reader, predict, stream, compare; then what one GPU of 1000 samples/s would need."""
    num_samples = 2560 if quick else 7680
    root = rendered(4 if quick else 24)
    options = Options("ray", root, True, 1, 1, num_samples, BATCH_SIZE)
    cost = measure_reader(training_loader(build(recipe_of(options))), 640)
    log.info("one reader: %s", cost)
    for name, worth in TRAINERS.items():
        for num_readers in (1, 2):
            yield _compared(f"{num_readers} reading CPUs, trainer {name}", cost, num_readers, worth, root, num_samples)
    gpu = Pipeline(cost, 1, trainer_rate=1000.0, samples_per_block=SAMPLES_PER_BLOCK)
    needed = readers_needed(gpu)
    yield Row("cores for a GPU of 1000 samples/s (without latency: peer)", 1000 * cost.seconds / needed, None,
              needed, 1000 * cost.seconds, "cores")  # fmt: skip


def _compared(name: str, cost: ReaderCost, num_readers: int, worth: float, root: Path, num_samples: int) -> Row:
    rate = min(worth / cost.seconds, 1e6)
    model = Pipeline(cost, num_readers, rate, samples_per_block=SAMPLES_PER_BLOCK)
    predicted = simulate(model)
    measured = _stream(root, num_readers, 0.0 if math.isinf(worth) else rate, num_samples)
    log.info("%s: %s binds; measured %s", name, predicted.binding, json.dumps(measured))
    # Two readers and the one who takes their samples share this machine's two cores: the model knows only readers.
    return Row(f"{name}: delivered (predicted: peer)", measured["samples_per_s"] / predicted.samples_per_s, None,
               measured["samples_per_s"], predicted.samples_per_s, "samples/s")  # fmt: skip


def _stream(root: Path, num_readers: int, rate: float, num_samples: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.training_loop", "ray", "--alone", "--root", str(root), "--pace",
               str(rate), "--readers", str(num_readers), "--samples", str(num_samples), "--batch-size",
               str(BATCH_SIZE)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
