"""The samples of a sweep, read once for all of its trials: blocks in Ray's object store, made on demand by Ray tasks.

The sample at a position is a function of catalog, data, seed and position, augmentation included, so trials that share
those share the blocks to the bit. Torch stays out of this file: the reader processes import it.
"""

import dataclasses
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from datasets_catalog import load_dataset
from eventsam.catalog import Catalog, open_catalog
from eventsam.loading import Data, Loader, make_loader
from eventsam.quarantine import Quarantine, read_entries
from eventsam.spec import build, from_json

SAMPLES_PER_BLOCK = 64
BYTES_PER_BLOCK = 32 * 2**20
BLOCKS_AHEAD = 2


@dataclass(frozen=True)
class Selection:
    """Which samples a trial reads: a data spec as JSON, the keys, the seed, and whether they are trained on."""

    data: Mapping[str, Any]
    keys: tuple[str, ...]
    seed: int
    training: bool

    @property
    def key(self) -> str:
        """Return a short hash that equal selections share."""
        record = [self.data, sorted(self.keys), self.seed, self.training]
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Opened:
    """A selection's loader and how many samples its blocks hold."""

    loader: Loader
    samples_per_block: int
    bytes_per_sample: int


@ray.remote(retry_exceptions=[OSError])
def read_block(opened: Opened, number: int) -> dict[str, NDArray[Any]]:
    """Return the samples of one block of positions."""
    first = number * opened.samples_per_block
    return opened.loader.batch(np.arange(first, first + opened.samples_per_block, dtype=np.int64))


@ray.remote(num_cpus=0, max_restarts=3, max_task_retries=3)
class SampleLibrary:
    """Opens each catalog once and has each block read once, by `reader_cpus`, keeping up to `capacity` bytes of them.

    Bad samples are listed below `folder`, and up to the recipe's `data.max_bad_share` of them have stand-ins.
    """

    def __init__(self, capacity: int, folder: Path, reader_cpus: float) -> None:
        self.folder = folder
        self.read = read_block.options(num_cpus=reader_cpus)
        self.capacity, self.used, self.num_read, self.num_asked = capacity, 0, 0, 0
        self.catalogs: dict[tuple[str, str], Catalog] = {}
        self.opened: dict[str, Any] = {}
        self.blocks: OrderedDict[tuple[str, int], tuple[Any, int]] = OrderedDict()

    def open(self, selection: Selection) -> Any:
        """Return (in a list, as a reference) what a selection's blocks are read with."""
        if selection.key not in self.opened:
            data: Data = build(from_json(selection.data), "data")
            dataset, place = load_dataset(data.dataset), (data.dataset, data.root)
            if place not in self.catalogs:
                self.catalogs[place] = open_catalog(dataset, Path(data.root))
            loader = make_loader(
                dataset, self.catalogs[place], data, selection.keys, seed=selection.seed, training=selection.training
            )
            # Bad samples are the same ones for all trials that read this selection: one list for them.
            quarantine = Quarantine(self.folder / "quarantine" / selection.key, data.max_bad_share)
            loader = dataclasses.replace(loader, quarantine=quarantine)
            num_bytes = sum(array.nbytes for array in loader.batch(np.zeros(1, np.int64)).values())
            per_block = max(1, min(SAMPLES_PER_BLOCK, BYTES_PER_BLOCK // num_bytes))
            self.opened[selection.key] = (ray.put(Opened(loader, per_block, num_bytes)), per_block * num_bytes)
        return [self.opened[selection.key][0]]

    def block(self, selection: Selection, number: int) -> Any:
        """Return (in a list, as a reference) one block, reading it if nobody asked for it lately."""
        self.num_asked += 1
        key = (selection.key, number)
        if key not in self.blocks:
            (opened,), num_bytes = self.open(selection), self.opened[selection.key][1]
            self.num_read += 1
            self.used += num_bytes
            self.blocks[key] = (self.read.remote(opened, number), num_bytes)
            while self.used > self.capacity and len(self.blocks) > 1:
                self.used -= self.blocks.popitem(last=False)[1][1]
        self.blocks.move_to_end(key)
        return [self.blocks[key][0]]

    def counts(self) -> dict[str, int]:
        """Return how many blocks were asked for, how many had to be read, and how many bad samples were found."""
        names = {entry.sample_id for key in self.opened for entry in read_entries(self.folder / "quarantine" / key)}
        return {"asked": self.num_asked, "read": self.num_read, "catalogs": len(self.catalogs), "bad": len(names)}


@dataclass
class SharedSamples:
    """A selection as a trial sees it."""

    library: Any
    selection: Selection

    def __post_init__(self) -> None:
        self.opened: Opened = ray.get(ray.get(self.library.open.remote(self.selection))[0])

    @property
    def loader(self) -> Loader:
        """Return the loader that the samples come from."""
        return self.opened.loader

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the batches of positions [start, stop), the last one filled up with the positions behind `stop`."""
        stop = start + -(-(stop - start) // batch_size) * batch_size
        size = self.opened.samples_per_block
        asked: dict[int, Any] = {}
        held: dict[int, dict[str, NDArray[Any]]] = {}
        for first in range(start, stop, batch_size):
            needed = range(first // size, -(-(first + batch_size) // size))
            for number in range(needed[0], min(needed[-1] + BLOCKS_AHEAD, -(-stop // size) - 1) + 1):
                if number not in asked:
                    asked[number] = self.library.block.remote(self.selection, number)
            for number in needed:
                if number not in held:
                    held[number] = ray.get(ray.get(asked[number])[0])
            yield _cut([held[number] for number in needed], first - needed[0] * size, batch_size)
            for number in [number for number in held if number < (first + batch_size) // size]:
                del held[number], asked[number]


def _cut(blocks: Sequence[Mapping[str, NDArray[Any]]], first: int, size: int) -> dict[str, NDArray[Any]]:
    """Return a batch of its own memory: what lies in the object store cannot be written to, which torch dislikes."""
    batch = {}
    for key in blocks[0]:
        rows = blocks[0][key] if len(blocks) == 1 else np.concatenate([block[key] for block in blocks])
        batch[key] = rows[first : first + size].copy()
    return batch
