"""How fast samples can flow: what reading one costs, and what a pipeline of readers, network and trainers makes of it.

Rates in, rates out; nothing here runs a pipeline. `measure_reader` measures the costs on this machine.
"""

import heapq
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eventsam.loading import Loader

PROCESS_COUNTERS = Path("/proc/self/io")
"""Linux alone: bytes that this process asked of files, from the disk or from the cache."""


@dataclass(frozen=True)
class ReaderCost:
    """What one sample costs to read, augment and represent on one core.

    Args:
        seconds: time per sample, waiting for files included; `cpu_seconds` of them on the processor.
        bytes: per sample, as it lies in the object store and travels.
        disk_bytes: per sample, asked of files; NaN where the system does not count them.
        spread: standard deviation of a block's time over its mean.
    """

    seconds: float
    bytes: float
    cpu_seconds: float = math.nan
    disk_bytes: float = math.nan
    spread: float = 0.0


@dataclass(frozen=True)
class Pipeline:
    """Readers that make blocks in order, a wire, and trainers that take them in lockstep.

    Args:
        reader: what one sample costs.
        num_readers: blocks being read at once, a core each.
        num_trainers: each takes `trainer_rate` samples/s when they are there.
        samples_per_block: of one task; one trainer takes a whole block.
        block_latency_s: from a block's end until its place begins the next one (the scheduler's loop).
        store_bytes: of all blocks that are being read, waiting or being trained on.
        wire_bytes_per_s: between readers and trainers, all together.
    """

    reader: ReaderCost
    num_readers: int
    trainer_rate: float
    num_trainers: int = 1
    samples_per_block: int = 128
    block_latency_s: float = 0.05
    store_bytes: float = math.inf
    wire_bytes_per_s: float = math.inf

    def __post_init__(self) -> None:
        if self.num_readers < 1 or self.num_trainers < 1 or self.samples_per_block < 1:
            raise ValueError("a pipeline has at least one reader, one trainer and one sample per block")
        if self.store_bytes < self.num_trainers * self.block_bytes:
            raise ValueError(
                f"an object store of {self.store_bytes:.0f} bytes does not hold one block of {self.block_bytes:.0f} "
                f"bytes for each of {self.num_trainers} trainers"
            )

    @property
    def block_bytes(self) -> float:
        """Bytes of one block."""
        return self.samples_per_block * self.reader.bytes

    @property
    def block_seconds(self) -> float:
        """Seconds for which one block keeps its reader's place."""
        return self.samples_per_block * self.reader.seconds + self.block_latency_s

    def limits(self) -> dict[str, float]:
        """Return samples/s that each part alone allows: reading, wire, training, and the store by Little's law."""
        train_s = self.samples_per_block / self.trainer_rate
        wire_s = self.block_bytes / self.wire_bytes_per_s
        blocks_in_store = self.store_bytes / self.block_bytes
        return {
            "reading": self.num_readers * self.samples_per_block / self.block_seconds,
            "wire": self.wire_bytes_per_s / self.reader.bytes,
            "training": self.num_trainers * self.trainer_rate,
            "store": blocks_in_store * self.samples_per_block / (self.block_seconds + wire_s + train_s),
        }


@dataclass(frozen=True)
class Prediction:
    """What comes out: samples/s over all trainers, the part that binds, and how long trainers wait of their time."""

    samples_per_s: float
    binding: str
    waiting_share: float
    peak_store_bytes: float
    limits: Mapping[str, float]


def measure_reader(loader: Loader, num_samples: int, samples_per_block: int = 32) -> ReaderCost:
    """Read `num_samples` of a loader's samples in this process, after one unmeasured block, and return their cost.

    Raises:
        ValueError: fewer samples than one block were asked for.
    """
    num_blocks = num_samples // samples_per_block
    if num_blocks < 1:
        raise ValueError(f"num_samples is {num_samples}, needed: at least one block of {samples_per_block}")
    blocks = np.arange((num_blocks + 1) * samples_per_block, dtype=np.int64).reshape(num_blocks + 1, -1)
    loader.batch(blocks[0])
    seconds = np.empty(num_blocks)
    num_bytes, on_cpu, asked = 0, time.process_time(), _bytes_asked()
    for index, positions in enumerate(blocks[1:]):
        started = time.perf_counter()
        batch = loader.batch(positions)
        seconds[index] = time.perf_counter() - started
        num_bytes += sum(array.nbytes for array in batch.values())
    read = num_blocks * samples_per_block
    return ReaderCost(
        seconds=float(seconds.sum()) / read,
        bytes=num_bytes / read,
        cpu_seconds=(time.process_time() - on_cpu) / read,
        disk_bytes=(_bytes_asked() - asked) / read,
        spread=float(seconds.std() / seconds.mean()),
    )


def simulate(pipeline: Pipeline, rounds: int = 200, seed: int = 0) -> Prediction:
    """Let `rounds` blocks per trainer flow and return what is seen once the first tenth has passed.

    Blocks start in order where a reader and room in the store are free, travel one after the other, and are trained on
    a round at a time: all trainers wait for the last one's block. A block's time varies by the reader's `spread`.
    """
    if rounds < 10:
        raise ValueError(f"rounds is {rounds}, needed: at least 10")
    num_trainers = pipeline.num_trainers
    read_s = _block_times(pipeline, rounds * num_trainers, seed)
    wire_s = pipeline.block_bytes / pipeline.wire_bytes_per_s
    train_s = pipeline.samples_per_block / pipeline.trainer_rate
    room = int(min(pipeline.store_bytes / pipeline.block_bytes, len(read_s)))
    places = [0.0] * pipeline.num_readers
    starts, released = np.zeros(len(read_s)), np.zeros(len(read_s))
    wire_free, trained, ends = 0.0, 0.0, np.zeros(rounds)
    for first in range(0, len(read_s), num_trainers):
        delivered = 0.0
        for block in range(first, first + num_trainers):
            free = heapq.heappop(places)
            starts[block] = max(free, released[block - room] if block >= room else 0.0)
            finished = starts[block] + read_s[block]
            heapq.heappush(places, finished + pipeline.block_latency_s)
            wire_free = max(wire_free, finished) + wire_s
            delivered = max(delivered, wire_free)
        trained = max(trained, delivered) + train_s
        released[first : first + num_trainers] = trained
        ends[first // num_trainers] = trained
    return _prediction(pipeline, ends, starts, released)


def readers_needed(pipeline: Pipeline, headroom: float = 1.1) -> int:
    """Return the fewest reading cores whose rate is `headroom` times what the trainers take.

    Raises:
        ValueError: no number of readers helps: the wire or the store binds first.
    """
    wanted = pipeline.num_trainers * pipeline.trainer_rate
    limits = pipeline.limits()
    for part in ("wire", "store"):
        if limits[part] < wanted:
            raise ValueError(
                f"the {part} allows {limits[part]:.0f} samples/s, the trainers take {wanted:.0f}: more readers would "
                "not help"
            )
    return max(1, math.ceil(headroom * wanted * pipeline.block_seconds / pipeline.samples_per_block - 1e-9))


def with_readers(pipeline: Pipeline, num_readers: int) -> Pipeline:
    """Return the same pipeline with another number of reading cores."""
    return replace(pipeline, num_readers=num_readers)


def _block_times(pipeline: Pipeline, num_blocks: int, seed: int) -> np.ndarray:
    """Seconds of each block: log-normal around the mean, for times are positive and their tail is long."""
    mean = pipeline.samples_per_block * pipeline.reader.seconds
    if not pipeline.reader.spread:
        return np.full(num_blocks, mean)
    sigma = math.sqrt(math.log1p(pipeline.reader.spread**2))
    draws = np.random.Generator(np.random.PCG64(seed)).lognormal(-(sigma**2) / 2, sigma, num_blocks)
    return mean * draws


def _prediction(pipeline: Pipeline, ends: np.ndarray, starts: np.ndarray, released: np.ndarray) -> Prediction:
    warm = max(1, len(ends) // 10)
    rate = (len(ends) - warm) * pipeline.num_trainers * pipeline.samples_per_block / (ends[-1] - ends[warm - 1])
    limits = pipeline.limits()
    # Blocks in the store at a block's start: those begun by then and not yet trained on.
    in_store = np.arange(1, len(starts) + 1) - np.searchsorted(released, starts, side="right")
    return Prediction(
        samples_per_s=float(rate),
        binding=min(limits, key=lambda part: limits[part]),
        waiting_share=max(0.0, 1.0 - float(rate) / limits["training"]),
        peak_store_bytes=float(in_store.max()) * pipeline.block_bytes,
        limits=limits,
    )


def _bytes_asked() -> float:
    try:
        text = PROCESS_COUNTERS.read_text()
    except OSError:
        return math.nan
    return float(dict(line.split(": ") for line in text.splitlines())["rchar"])
