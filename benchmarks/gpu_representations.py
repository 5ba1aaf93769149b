"""Representations of a batch of windows on a GPU against the CPU kernels, in one process.

python -m benchmarks.gpu_representations [--json OUT] [--batch-size 64] [--seconds 0.5]
Windows per second at 346x260 and 1280x720 with 1e5 and 1e6 events per window, the ratio to the CPU kernel (one thread,
the same windows), and the share of the device's memory bandwidth: the bytes a window must at least move (9 per event
in, the image out) over its time, against a copy on the same device. Without CUDA it says so, and measures the torch
fallback on the CPU at a small size instead.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.representations import Representation
from eventsam.representations.gpu import EventBatch, represent
from eventsam.representations.gpu.batch import Window
from eventsam.representations.histogram import Histogram
from eventsam.representations.mixed_density import MixedDensity
from eventsam.representations.polarity_histogram import PolarityHistogram
from eventsam.representations.tencode import Tencode
from eventsam.representations.time_surface import TimeSurface
from eventsam.representations.voxel_grid import VoxelGrid

REPRESENTATIONS: tuple[Representation, ...] = (
    Tencode(),
    Histogram(),
    PolarityHistogram(),
    VoxelGrid(exact=True),
    TimeSurface(),
    MixedDensity(),
)
WINDOW_US = 50_000
SIZES = ((260, 346), (720, 1280))
COUNTS = (100_000, 1_000_000)
SMALL_COUNTS = (10_000,)
NUM_CPU_WINDOWS = 4
"""Windows timed on the CPU: it takes them one by one, so a few give the rate."""


@dataclass(frozen=True)
class Measurement:
    """One representation at one size; bandwidths in GB/s. `bandwidth_share` is of a copy on the same device."""

    representation: str
    height: int
    width: int
    num_events: int
    batch_size: int
    windows_per_s: float
    cpu_windows_per_s: float
    ratio: float
    gb_per_s: float
    bandwidth_share: float


def moving_edges(height: int, width: int, num_events: int, seed: int) -> Events:
    """Return a window of edges that sweep the sensor, with a tenth of the events as noise anywhere."""
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(0, WINDOW_US, num_events))
    edge = random.integers(0, 24, num_events)
    y = random.integers(0, height, num_events)
    x = (edge * width // 24 + y // 3 + t * (width // 12) // WINDOW_US + random.integers(0, 3, num_events)) % width
    noise = random.random(num_events) < 0.1
    x[noise] = random.integers(0, width, int(noise.sum()))
    return Events.from_arrays(x, y, t, edge % 2, height=height, width=width)


def seconds_per_call(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return the median time of a call, over at least three rounds of `seconds` in all, compilation left out."""
    for _ in range(3):
        call()
    wait(device)
    rounds: list[float] = []
    while len(rounds) < 3 or sum(rounds) < seconds:
        started = time.perf_counter()
        call()
        wait(device)
        rounds.append(time.perf_counter() - started)
    return median(rounds)


def wait(device: torch.device) -> None:
    """Let the device finish."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def copy_bandwidth(device: torch.device, seconds: float) -> float:
    """Return the bytes per second read and written by a copy far larger than any cache."""
    size = 1 << 30 if device.type == "cuda" else 1 << 27
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds_per_call(lambda: target.copy_(source), device, seconds)


def measure(windows: Sequence[Window], device: torch.device, bandwidth: float, seconds: float) -> Iterator[Measurement]:
    """Time every representation on a batch of windows, and on the CPU window by window."""
    batch = EventBatch.pack(windows).to(device)
    few = windows[:NUM_CPU_WINDOWS]
    for representation in REPRESENTATIONS:
        draw = partial(represent, representation, batch)
        moved = batch.nbytes + draw().nbytes
        per_batch = seconds_per_call(draw, device, seconds)
        draw_few = partial(draw_on_cpu, representation, few, representation(*few[0]))
        per_cpu_window = seconds_per_call(draw_few, torch.device("cpu"), seconds) / len(few)
        per_window = per_batch / len(windows)
        yield Measurement(
            representation=type(representation).__name__,
            height=batch.height,
            width=batch.width,
            num_events=len(windows[0][0]),
            batch_size=len(windows),
            windows_per_s=1 / per_window,
            cpu_windows_per_s=1 / per_cpu_window,
            ratio=per_cpu_window / per_window,
            gb_per_s=moved / per_batch / 1e9,
            bandwidth_share=moved / per_batch / bandwidth,
        )


def draw_on_cpu(representation: Representation, windows: Sequence[Window], out: NDArray[Any]) -> None:
    """Draw windows one after another into the same array."""
    for window in windows:
        representation.into(*window, out)


def show(row: Measurement) -> None:
    """Print one line of the table."""
    print(
        f"{row.representation:18s} {row.width:5d}x{row.height:<5d} {row.num_events:8d} {row.windows_per_s:12.1f} "
        f"{row.cpu_windows_per_s:12.1f} {row.ratio:8.2f} {row.gb_per_s:9.1f} {row.bandwidth_share:7.1%}"
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.5, help="time spent on each number")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    counts, batch_size = COUNTS, arguments.batch_size
    if device.type == "cuda":
        print(f"device: {torch.cuda.get_device_name(device)}")
    else:
        counts, batch_size = SMALL_COUNTS, min(batch_size, 4)
        print(f"no CUDA device here: the torch fallback on the CPU, {torch.get_num_threads()} threads, small windows")
    bandwidth = copy_bandwidth(device, arguments.seconds)
    print(f"copy: {bandwidth / 1e9:.0f} GB/s read and written; batch of {batch_size} windows")
    print(f"{'':18s} {'sensor':>11s}   events    windows/s   CPU kernel    ratio      GB/s   share")
    rows: list[Measurement] = []
    for height, width in SIZES:
        for num_events in counts:
            distinct = [moving_edges(height, width, num_events, seed) for seed in range(min(batch_size, 8))]
            windows = [(distinct[i % len(distinct)], 0, WINDOW_US) for i in range(batch_size)]
            for row in measure(windows, device, bandwidth, arguments.seconds):
                show(row)
                rows.append(row)
    if arguments.json:
        content = {"device": str(device), "bandwidth_bytes_per_s": bandwidth, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
