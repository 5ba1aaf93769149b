"""A 20-minute recording made up, converted, sliced: `python -m benchmarks.long_recording [--events 1e9] [--json OUT]`.

Events are generated chunk by chunk, written as `--format`, converted to `--to`, and read back: 100 random windows of
50 ms of each file must equal what the generator makes for them. Prints seconds and file sizes; exits 1 where a window
differs or the process ever held more than 1 GB. 1e9 events need about 7 GB under `--folder`.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eventsam.events import Events, concatenate
from eventsam.io.convert import convert, write_events
from eventsam.io.detect import open_recording
from eventsam.io.recording import OpenOptions, Recording

HEIGHT, WIDTH = 720, 1280
SPAN_US = 1_200_000_000
WINDOW_US, NUM_WINDOWS = 50_000, 100
CHUNK = 1 << 19
MAX_BYTES = 1 << 30


class Generated:
    """A recording that any part of can be made again: event i lies at a fixed time, at a pixel drawn with its chunk."""

    def __init__(self, num_events: int, span_us: int = SPAN_US) -> None:
        """Spread `num_events` evenly over `span_us`."""
        self.num_events, self.span_us = num_events, span_us

    def chunk(self, number: int) -> Events:
        """Return chunk `number` of CHUNK events (the last may be shorter): an edge that sweeps the sensor."""
        first, end = number * CHUNK, min((number + 1) * CHUNK, self.num_events)
        index = np.arange(first, end, dtype=np.int64)
        t = index * self.span_us // self.num_events
        random = np.random.default_rng(number)
        x = (t // 1000 + random.integers(0, 64, len(t), np.int64)) % WIDTH
        y = random.integers(0, HEIGHT, len(t), np.uint16)
        p = random.integers(0, 2, len(t), np.uint8)
        return Events(x.astype(np.uint16), y, t, p, HEIGHT, WIDTH)

    def chunks(self) -> Iterator[Events]:
        """Return all chunks in order."""
        for number in range(-(-self.num_events // CHUNK)):
            yield self.chunk(number)

    def events(self, t0: int, t1: int) -> Events:
        """Return the events with t in [t0, t1) us."""
        first, end = (t * self.num_events // self.span_us // CHUNK for t in (t0, t1))
        last = -(-self.num_events // CHUNK) - 1
        parts = [self.chunk(number) for number in range(min(first, last), min(end, last) + 1)]
        return concatenate(parts).between(t0, t1)


def differing_windows(recording: Recording, made: Generated, num_windows: int, seed: int = 0) -> tuple[int, float]:
    """Return how many random windows differ from the generator's, and the mean seconds of reading one."""
    starts = np.random.default_rng(seed).integers(0, made.span_us - WINDOW_US, num_windows)
    differing, seconds = 0, 0.0
    for start in (int(t) for t in starts):
        started = time.perf_counter()
        found = recording.events(start, start + WINDOW_US)
        seconds += time.perf_counter() - started
        expected = made.events(start, start + WINDOW_US)
        same = len(found) == len(expected)
        differing += not (same and all((getattr(found, n) == getattr(expected, n)).all() for n in "xytp"))
    return differing, seconds / num_windows


def peak_bytes() -> int:
    """Return the most memory that this process has held, pages of mapped files included."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage also counts what the parent held when it started this process.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(folder: Path, num_events: int, formats: tuple[str, str]) -> dict[str, float]:
    """Write, convert and slice; return seconds and sizes by name."""
    made, facts = Generated(num_events), {"events": float(num_events)}
    options = OpenOptions(index_folder=folder / "index")
    paths = [folder / f"long_{name}" for name in formats]
    started = time.perf_counter()
    write_events(paths[0], made.chunks(), HEIGHT, WIDTH, formats[0])
    facts[f"write_{formats[0]}_s"] = time.perf_counter() - started
    for name, path in zip(formats, paths, strict=True):
        started = time.perf_counter()
        if path is paths[1]:
            convert(open_recording(paths[0], options), path, name)
            facts[f"convert_to_{name}_s"] = time.perf_counter() - started
            started = time.perf_counter()
        recording = open_recording(path, options)
        facts[f"open_{name}_s"] = time.perf_counter() - started
        differing, seconds = differing_windows(recording, made, NUM_WINDOWS)
        facts |= {f"slice_{name}_ms": seconds * 1e3, f"differing_{name}": float(differing)}
        facts[f"{name}_bytes_per_event"] = path.stat().st_size / num_events
        facts[f"peak_mb_after_{name}"] = peak_bytes() / 1e6
    return facts


def main() -> int:
    """Print the facts; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=float, default=1e9)
    parser.add_argument("--format", default="evt3", help="what is written first")
    parser.add_argument("--to", default="parquet", help="what it is converted to")
    parser.add_argument("--folder", type=Path, help="where the files go; they are removed at the end")
    parser.add_argument("--json", type=Path, help="write the facts to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        facts = run(Path(folder), int(arguments.events), (arguments.format, arguments.to))
    for name, value in facts.items():
        print(f"{name:30} {value:14.2f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(facts, indent=1))
    differing = sum(value for name, value in facts.items() if name.startswith("differing"))
    return int(differing > 0 or peak_bytes() > MAX_BYTES)


if __name__ == "__main__":
    sys.exit(main())
