"""Which sample comes when: a seeded permutation per epoch, one integer position, and its layout over workers."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Order:
    """The sequence of samples of a run: a pure function of (catalog hash, seed, epoch).

    Position p of the run holds row `permutation(epoch)[p % num_samples]` with epoch = p // num_samples, so batches may
    span two epochs and no sample is dropped. `shuffle=False` walks the rows as they stand (evaluation).
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
            rows[chosen] = _permutation(self, int(epoch))[offsets[chosen]]
        return rows


@lru_cache(maxsize=4)
def _permutation(order: Order, epoch: int) -> NDArray[np.int64]:
    catalog = int(hashlib.sha256(order.catalog_hash.encode()).hexdigest()[:16], 16)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([catalog, order.seed, epoch])))
    return generator.permutation(order.num_samples)


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
