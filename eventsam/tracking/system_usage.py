"""What the machine does while a run trains: CPU, memory, disk, network and GPUs, sampled into the run's folder."""

import csv
import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from eventsam.metrics_log import append_line, records_from

log = logging.getLogger(__name__)

MEGABYTE = 1e6
_GPU_FIELDS = ("index", "utilization.gpu", "memory.used", "memory.total", "power.draw")
_GPU_NAMES = ("utilization_percentage", "memory_usage_megabytes", "memory_usage_percentage", "power_usage_watts")


def local_usage() -> dict[str, float]:
    """Return this machine's numbers now, by the names that MLflow's pages know; CPU since the call before."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage("/")
    network = psutil.net_io_counters()
    usage = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / MEGABYTE,
        "system/system_memory_usage_percentage": memory.percent,
        "system/disk_usage_percentage": disk.percent,
        "system/disk_available_megabytes": disk.free / MEGABYTE,
    }
    if network is not None:
        usage["system/network_receive_megabytes"] = network.bytes_recv / MEGABYTE
        usage["system/network_transmit_megabytes"] = network.bytes_sent / MEGABYTE
    return usage | gpu_usage()


def gpu_usage() -> dict[str, float]:
    """Return the numbers of this machine's GPUs as its driver's own tool tells them; none where there is no GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    question = [tool, f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("nvidia-smi did not answer: %s", error)
        return {}
    return parse_gpus(answer)


def parse_gpus(answer: str) -> dict[str, float]:
    """Return the numbers in nvidia-smi's lines; what a GPU does not state ("[N/A]") is left out."""
    usage = {}
    for row in csv.reader(answer.splitlines(), skipinitialspace=True):
        if len(row) != len(_GPU_FIELDS):
            continue
        used, total = _number(row[2]), _number(row[3])
        mib = 2**20 / MEGABYTE
        values = (
            _number(row[1]),
            None if used is None else used * mib,
            None if used is None or not total else 100 * used / total,
            _number(row[4]),
        )
        for name, value in zip(_GPU_NAMES, values, strict=True):
            if value is not None:
                usage[f"system/gpu_{row[0]}_{name}"] = value
    return usage


@contextmanager
def watched_usage(
    folder: Path, read: Callable[[], Mapping[str, float]] = local_usage, interval_s: float = 10.0
) -> Iterator[None]:
    """Append `read()` to a run's system.jsonl every `interval_s` seconds for the time of the block.

    The step of a sample is its number, counted on when a run goes on.
    """
    path, ended = folder / "system.jsonl", threading.Event()
    first = sum(1 for _ in records_from(path, 0))

    def watch() -> None:
        step = first
        psutil.cpu_percent()  # from here on; the library counts for each thread
        while True:
            over = ended.wait(interval_s)
            try:
                append_line(path, {"step": step, **read(), "time": time.time()})
                step += 1
            except Exception as error:  # numbers about the machine never end a training
                log.warning("the machine's usage could not be sampled: %s", error)
            if over:
                return

    thread = threading.Thread(target=watch, name="system-usage", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=interval_s)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
