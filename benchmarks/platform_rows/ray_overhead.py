"""Training and reading with Ray and without, on the same cores: samples/s once warm, CPU seconds, seconds to start."""

import atexit
import json
import logging
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.race import Row
from datasets_catalog.synthetic import DATASET
from eventsam.catalog import write_catalog
from eventsam.simulate.objects import render_object, shard_path
from eventsam.simulate.settings import RenderSettings
from eventsam.simulate.sources import procedural_sources

log = logging.getLogger(__name__)

GOAL = 0.9
SETTINGS = RenderSettings(background="colour", split_fractions=(0.8, 0.1, 0.1))
PHASES = ("imports", "start Ray", "model and catalog", "to the first record", "in all")


@dataclass(frozen=True)
class Case:
    """One way to run the program."""

    side: str
    alone: bool
    threads: int
    readers: int

    def run(self, root: Path, num_samples: int) -> dict[str, Any]:
        """Run it in a process of its own."""
        command = [sys.executable, "-m", "benchmarks.training_loop", self.side, "--root", str(root)]
        command += ["--threads", str(self.threads), "--readers", str(self.readers), "--samples", str(num_samples)]
        done = subprocess.run(command + ["--alone"] * self.alone, capture_output=True, text=True, timeout=1200)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        log.info("%s: %s", self, json.dumps(result))
        return result


def rows(quick: bool) -> Iterator[Row]:
    """Run all cases in turns, several times over, and compare their medians."""
    root = rendered(4 if quick else 24)
    trained = measured(root, False, 320 if quick else 1600, 1 if quick else 3)
    read = measured(root, True, 960 if quick else 4800, 1 if quick else 2)
    yield from _compared("train stage 0, one torch thread", *trained, GOAL)
    yield from _compared("read its samples alone", *read, None)
    on_ray, plain = trained
    for phase in PHASES:
        ours, peer = on_ray["start_s"].get(phase, 0.0), plain["start_s"].get(phase, 0.0)
        yield Row(f"start-up, {phase}", peer / ours if ours else 0.0, None, ours, peer, "s")


@cache
def rendered(num_objects: int) -> Path:
    """Write a catalog of rendered objects, once for all parts of the table; it goes when this program ends."""
    root = Path(tempfile.mkdtemp(prefix="platform-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    sources = procedural_sources(num_objects)
    with ProcessPoolExecutor(2) as pool:
        for name, source in sources.items():
            pool.submit(render_object, name, source, SETTINGS, shard_path(root, name))
    write_catalog(DATASET, root, {"settings": SETTINGS.to_json()})
    return root


def measured(root: Path, alone: bool, num_samples: int, rounds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the medians of Ray's runs, and of the faster of the DataLoader with one and with two processes."""
    cases = [Case("ray", alone, 1, 2), Case("plain", alone, 1, 1), Case("plain", alone, 1, 2)]
    runs: dict[Case, list[dict[str, Any]]] = {case: [] for case in cases}
    for number in range(rounds):
        for case in cases[number:] + cases[:number]:
            runs[case].append(case.run(root, num_samples))
    medians = [_median(runs[case]) for case in cases]
    return medians[0], max(medians[1:], key=lambda result: float(result["samples_per_s"]))


def _median(results: list[dict[str, Any]]) -> dict[str, Any]:
    numbers = ("samples_per_s", "cpu_s_per_sample", "waiting_share")
    phases = results[0]["start_s"]
    return {name: statistics.median(result[name] for result in results) for name in numbers} | {
        "start_s": {name: statistics.median(result["start_s"][name] for result in results) for name in phases}
    }


def _compared(name: str, on_ray: dict[str, Any], plain: dict[str, Any], goal: float | None) -> Iterator[Row]:
    ours, peer = on_ray["samples_per_s"], plain["samples_per_s"]
    yield Row(f"{name}: Ray (DataLoader: peer)", ours / peer, goal, ours, peer, "samples/s")
    ours, peer = 1000 * on_ray["cpu_s_per_sample"], 1000 * plain["cpu_s_per_sample"]
    yield Row(f"{name}: CPU per sample", peer / ours, None, ours, peer, "ms")
