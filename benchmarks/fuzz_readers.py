"""Damage recordings at random and read them: `python -m benchmarks.fuzz_readers [--format evt3] [--seconds 600]`.

For every format: small recordings that its writer (or a file given by --seed-file) made are cut, overwritten, spliced
and repeated; a reader must return events or raise RecordingError naming the file. Each case runs in a child process
that a crash, 20 s of computing, a wait of 10 minutes or a growth of memory ends; what ended it is kept under --found.
Exits 1 where something was found.
"""

import argparse
import multiprocessing
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

from eventsam.events import Events
from eventsam.io.convert import write_events
from eventsam.io.detect import formats, open_recording
from eventsam.io.recording import OpenOptions, RecordingError

COMPUTING_SECONDS = 20
WAIT_SECONDS = 600  # by the clock: on a busy machine an honest case may wait long for its turn
GROWTH_BYTES = 1 << 30
"""Memory that one case may add to the process: the files are a few kilobytes."""
NASTY = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)


def seeds(name: str, folder: Path) -> list[bytes]:
    """Return small recordings of a format, with and without pauses, as its writer makes them."""
    generator = np.random.default_rng(0)
    contents = []
    for number, steps in enumerate(([0, 1, 30], [0, 5, 9_000_000])):
        t = np.cumsum(generator.choice(steps, 120))
        x, y, p = (generator.integers(0, limit, 120) for limit in (346, 260, 2))
        path = folder / f"seed_{number}.events"
        write_events(path, [Events.from_arrays(x, y, t, p, height=260, width=346)], 260, 346, name)
        contents.append(path.read_bytes())
    return contents


def mutated(original: bytes, other: bytes, generator: np.random.Generator) -> bytes:
    """Return a damaged copy: one to four cuts, overwrites, insertions, repetitions or splices."""
    data = bytearray(original)
    for _ in range(int(generator.integers(1, 5))):
        at = int(generator.integers(0, len(data) + 1))
        kind = generator.integers(0, 7)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            data[at : at + 1] = bytes([int(generator.integers(0, 256))])
        elif kind == 2:
            size = int(generator.choice([1, 2, 4, 8]))
            value = int(generator.choice(np.array(NASTY, dtype=object))) & ((1 << 8 * size) - 1)
            data[at : at + size] = value.to_bytes(size, str(generator.choice(["little", "big"])))  # type: ignore[arg-type]
        elif kind == 3:
            data[at:at] = generator.bytes(int(generator.integers(1, 40)))
        elif kind == 4:
            del data[at : at + int(generator.integers(1, 40))]
        elif kind == 5:
            data[at:at] = data[at : at + int(generator.integers(1, 400))]
        else:
            data[at:] = other[at:]
    return bytes(data)


def read_case(path: Path, name: str) -> None:
    """Read everything; only RecordingError may come out."""
    for options in (
        OpenOptions(backward="running_maximum", outside="drop"),
        OpenOptions(height=260, width=346, backward="sort", outside="drop"),
    ):
        try:
            recording = open_recording(path, options, name)
            for chunk in recording.chunks():
                recording.events(int(chunk.t[0]), int(chunk.t[-1]))
            for _ in recording.frames():
                pass
            recording.imu(), recording.triggers()
        except RecordingError as error:
            if path.name not in str(error):
                raise AssertionError(f"the message does not name the file: {error}") from error


def work(name: str, originals: list[bytes], case: Path, number: int, stop: Event, counter: object) -> None:
    """Run cases until told to stop; the case at hand lies in a file, for whoever finds this process dead."""
    generator = np.random.default_rng(number)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resource.setrlimit(resource.RLIMIT_AS, (before + (16 << 30), resource.RLIM_INFINITY))
    while not stop.is_set():
        original, other = (originals[int(i)] for i in generator.integers(0, len(originals), 2))
        case.write_bytes(mutated(original, other, generator))
        signal.setitimer(signal.ITIMER_PROF, COMPUTING_SECONDS)
        signal.alarm(WAIT_SECONDS)
        try:
            read_case(case, name)
        except Exception:
            case.with_suffix(".txt").write_text(traceback.format_exc())
            sys.exit(3)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if peak - before > GROWTH_BYTES:
            case.with_suffix(".txt").write_text(f"memory grew by {peak - before} bytes")
            sys.exit(4)
        counter.value += 1  # type: ignore[attr-defined]


def fuzz(name: str, originals: list[bytes], seconds: float, found: Path) -> int:
    """Fuzz one format, print a line for every case that broke it and the number of cases; return how many broke it."""
    context = multiprocessing.get_context("spawn")
    counter, stop = context.Value("q", 0), context.Event()
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder) / "case.events"
        run = 0
        while time.monotonic() < deadline:
            child = context.Process(target=work, args=(name, originals, case, int(time.time()) + run, stop, counter))
            child.start()
            child.join(max(0.0, deadline - time.monotonic()))
            if child.is_alive():
                stop.set()
                child.join(2 * WAIT_SECONDS)
            if child.exitcode:
                run += 1
                found.mkdir(parents=True, exist_ok=True)
                kept = found / f"{name}_{int(time.time() * 1000)}{case.suffix}"
                shutil.copy(case, kept)
                note = case.with_suffix(".txt")
                why = note.read_text().strip().splitlines()[-1] if note.exists() else f"exit code {child.exitcode}"
                if note.exists():
                    shutil.move(note, kept.with_suffix(".txt"))
                print(f"{name}: {kept}: {why}", flush=True)
    print(f"{name}: {counter.value} cases in {seconds:.0f} s, {run} broke it", flush=True)
    return run


def main() -> int:
    """Fuzz the formats asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", action="append", choices=sorted(formats()), help="default: all that can be written")
    parser.add_argument("--seconds", type=float, default=600, help="for each format")
    parser.add_argument("--seed-file", type=Path, action="append", help="also damage these files (of one --format)")
    parser.add_argument("--found", type=Path, default=Path("found_cases"), help="where broken cases are kept")
    arguments = parser.parse_args()
    num_broken = 0
    for name in arguments.format or [name for name, entry in formats().items() if entry.write]:
        with tempfile.TemporaryDirectory() as folder:
            originals = seeds(name, Path(folder)) if formats()[name].write else []
        originals += [path.read_bytes() for path in arguments.seed_file or []]
        if not originals:
            raise SystemExit(f"{name} cannot be written: give --seed-file")
        num_broken += fuzz(name, originals, arguments.seconds, arguments.found)
    return 1 if num_broken else 0


if __name__ == "__main__":
    sys.exit(main())
