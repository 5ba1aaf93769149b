"""Which sample comes when: a seeded permutation per epoch, one integer position, and its layout over workers."""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LISTED_SAMPLES = 2**20
"""Epochs up to this many samples are shuffled as a list (8 MiB); longer ones are computed position by position."""

NUM_ROUNDS = 8
"""Keyed moves of the computed permutation; four suffice for pseudo-randomness in theory (Luby & Rackoff, 1988)."""

AT_ONCE = 2**16
"""Offsets computed together: what they need in between stays in the processor's cache."""


@dataclass(frozen=True)
class Order:
    """The sequence of samples of a run: a pure function of (catalog hash, seed, epoch).

    Position p of the run holds row `permutation(epoch)[p % num_samples]` with epoch = p // num_samples, so batches may
    span two epochs and no sample is dropped. `shuffle=False` walks the rows as they stand (evaluation). Permutations
    of more than `LISTED_SAMPLES` are computed where they are asked, in no memory, so every position is as near as the
    first.
    """

    num_samples: int
    seed: int = 0
    catalog_hash: str = ""
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError("the order needs at least one sample; the catalog's selection is empty")

    def epoch_of(self, position: int) -> int:
        """Return the epoch that a position belongs to."""
        return position // self.num_samples

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index rows at the given positions, any shape."""
        epochs, offsets = np.divmod(positions, self.num_samples)
        if not self.shuffle:
            return offsets
        rows = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            rows[chosen] = self._epoch_rows(int(epoch), offsets[chosen])
        return rows

    def _epoch_rows(self, epoch: int, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.num_samples <= LISTED_SAMPLES:
            return _listed_permutation(self, epoch)[offsets]
        return ComputedPermutation(self.num_samples, self.seed, epoch, self.catalog_hash)(offsets)


@lru_cache(maxsize=4)
def _listed_permutation(order: Order, epoch: int) -> NDArray[np.int64]:
    catalog = int(hashlib.sha256(order.catalog_hash.encode()).hexdigest()[:16], 16)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([catalog, order.seed, epoch])))
    return generator.permutation(order.num_samples)


@dataclass(frozen=True)
class ComputedPermutation:
    """A pseudo-random permutation of [0, num_samples) that is computed where it is asked: no list, no memory.

    An alternating Feistel network over the grid num_lines x num_columns, the smallest near-square one that holds all
    rows (Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, sections 3 and 4): each round moves
    one coordinate by a keyed hash of the other, which is undone by moving it back, so the whole is a permutation. A
    value beyond the last row walks on through the network until it falls on a row.
    """

    num_samples: int
    seed: int
    epoch: int
    catalog_hash: str = ""

    def __call__(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows at offsets within the epoch, any shape."""
        keys = self._round_keys()
        rows = offsets.astype(np.uint64).reshape(-1)
        for first in range(0, len(rows), AT_ONCE):
            part = rows[first : first + AT_ONCE]
            part[:] = self._walk(part, keys)
            while (beyond := part >= self.num_samples).any():
                part[beyond] = self._walk(part[beyond], keys)
        return rows.astype(np.int64).reshape(offsets.shape)

    def _round_keys(self) -> list[np.uint64]:
        digest = hashlib.sha512(f"{self.catalog_hash}/{self.seed}/{self.epoch}".encode()).digest()
        return [np.uint64(int.from_bytes(digest[i : i + 8], "little")) for i in range(0, 8 * NUM_ROUNDS, 8)]

    def _walk(self, values: NDArray[np.uint64], keys: list[np.uint64]) -> NDArray[np.uint64]:
        num_columns = math.isqrt(self.num_samples - 1) + 1
        num_lines = -(-self.num_samples // num_columns)
        line, column = np.divmod(values, np.uint64(num_columns))
        for first, second in zip(keys[::2], keys[1::2], strict=True):
            line = (line + _mixed(column, first) % np.uint64(num_lines)) % np.uint64(num_lines)
            column = (column + _mixed(line, second) % np.uint64(num_columns)) % np.uint64(num_columns)
        return line * np.uint64(num_columns) + column


def _mixed(values: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """Return 64 well-mixed bits of each value and a key: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    mixed = (values + key) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30)) ^ key) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def sample_generator(seed: int, epoch: int, sample_id: str) -> np.random.Generator:
    """Return the generator of one sample's augmentations: a function of (seed, epoch, sample id) alone."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{sample_id}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


@dataclass(frozen=True)
class Layout:
    """How a run's positions are cut into blocks so that W workers, served in turn, see the same global batches.

    Global batch i is positions [i*G, (i+1)*G) with G = `global_batch_size`; worker w takes its w-th slice. A block
    holds one worker's slices of `batches_per_block` consecutive global batches; blocks are ordered round by round,
    worker by worker, so a strict round robin hands each worker its own.

    `stop` is the run's last position, rounded up to a whole global batch.
    """

    start: int
    stop: int
    global_batch_size: int
    num_workers: int = 1
    batches_per_block: int = 8

    def __post_init__(self) -> None:
        if self.global_batch_size % self.num_workers:
            raise ValueError(
                f"global_batch_size {self.global_batch_size} cannot be shared equally by {self.num_workers} workers"
            )
        if self.start % self.global_batch_size:
            raise ValueError(f"position {self.start} is no multiple of global_batch_size {self.global_batch_size}")

    @property
    def batch_size(self) -> int:
        """Samples per worker and batch."""
        return self.global_batch_size // self.num_workers

    @property
    def num_batches(self) -> int:
        """Global batches from start to stop."""
        return -(-(self.stop - self.start) // self.global_batch_size)

    @property
    def num_blocks(self) -> int:
        """Blocks over all workers; every worker gets the same number."""
        return -(-self.num_batches // self.batches_per_block) * self.num_workers

    def positions(self, block: int) -> NDArray[np.int64]:
        """Return the positions of one block, in the order in which its worker consumes them."""
        round_index, worker = divmod(block, self.num_workers)
        first = round_index * self.batches_per_block
        batches = np.arange(first, min(first + self.batches_per_block, self.num_batches), dtype=np.int64)
        heads = self.start + batches * self.global_batch_size + worker * self.batch_size
        return (heads[:, None] + np.arange(self.batch_size, dtype=np.int64)).reshape(-1)
