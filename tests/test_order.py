"""The order contract: a pure function of catalog, seed and epoch, cut among any number of workers."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.order import LISTED_SAMPLES, ComputedPermutation, Layout, Order, sample_generator

SMALL_ORDER = [0, 3, 5, 6, 7, 1, 2, 4]
counts = st.integers(1, 50)


def consumed(layout: Layout) -> list[list[int]]:
    """Serve blocks in turn, as the stream does, and return every global batch's positions in rank order."""
    queues: list[list[int]] = [[] for _ in range(layout.num_workers)]
    for block in range(layout.num_blocks):
        queues[block % layout.num_workers] += layout.positions(block).tolist()
    size = layout.batch_size
    return [
        [position for queue in queues for position in queue[i * size : (i + 1) * size]]
        for i in range(layout.num_batches)
    ]


@given(num_batches=counts, per_worker=st.integers(1, 4), workers=st.sampled_from([1, 2, 3, 6]), block=st.integers(1, 9))
def test_global_batches_are_the_same_for_any_workers_and_block_size(
    num_batches: int, per_worker: int, workers: int, block: int
) -> None:
    size = per_worker * 6
    layout = Layout(0, num_batches * size, size, workers, block)
    assert consumed(layout) == [list(range(i * size, (i + 1) * size)) for i in range(num_batches)]


@given(num_batches=st.integers(2, 40), done=st.integers(1, 39), workers=st.sampled_from([1, 2, 3]))
def test_resume_continues_the_same_batches(num_batches: int, done: int, workers: int) -> None:
    done = min(done, num_batches - 1)
    whole = consumed(Layout(0, num_batches * 6, 6, 1, 4))
    assert consumed(Layout(done * 6, num_batches * 6, 6, workers, 5)) == whole[done:]


@given(num_samples=st.integers(1, 200), epochs=st.integers(1, 3), seed=st.integers(0, 5))
def test_every_epoch_holds_every_row_once(num_samples: int, epochs: int, seed: int) -> None:
    rows = Order(num_samples, seed, "h").rows(np.arange(num_samples * epochs, dtype=np.int64))
    for epoch in range(epochs):
        assert sorted(rows[epoch * num_samples : (epoch + 1) * num_samples]) == list(range(num_samples))


def test_order_depends_on_seed_epoch_and_catalog() -> None:
    positions = np.arange(100, dtype=np.int64)
    base = Order(100, 0, "a").rows(positions)
    assert (Order(100, 0, "a").rows(positions) == base).all()
    for other in (Order(100, 1, "a").rows(positions), Order(100, 0, "b").rows(positions)):
        assert (other != base).any()
    assert (Order(100, 0, "a").rows(positions + 100) != base).any()


def test_unshuffled_order_walks_the_rows() -> None:
    assert Order(3, shuffle=False).rows(np.arange(7, dtype=np.int64)).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_augmentation_depends_on_seed_epoch_and_sample_alone() -> None:
    first = sample_generator(0, 1, "a").random(4)
    assert (sample_generator(0, 1, "a").random(4) == first).all()
    for other in (sample_generator(1, 1, "a"), sample_generator(0, 2, "a"), sample_generator(0, 1, "b")):
        assert (other.random(4) != first).any()


def test_unequal_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be shared equally by 3 workers"):
        Layout(0, 64, 32, 3)


def test_start_inside_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="no multiple of global_batch_size"):
        Layout(5, 64, 32, 1)


def test_an_empty_selection_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Order(0)


@given(num_samples=st.integers(1, 3000), seed=st.integers(0, 3), epoch=st.integers(0, 3))
def test_the_computed_permutation_holds_every_row_once(num_samples: int, seed: int, epoch: int) -> None:
    rows = ComputedPermutation(num_samples, seed, epoch, "h")(np.arange(num_samples, dtype=np.int64))
    assert sorted(rows.tolist()) == list(range(num_samples))


def test_the_computed_permutation_depends_on_seed_epoch_and_catalog() -> None:
    offsets = np.arange(1000, dtype=np.int64)
    base = ComputedPermutation(10**6, 0, 0, "a")(offsets)
    for other in ((0, 1, "a"), (1, 0, "a"), (0, 0, "b")):
        # Two independent orders of 10^6 share one place in a thousand now and then, never many.
        assert (ComputedPermutation(10**6, *other)(offsets) == base).sum() < 10


def test_the_computed_permutation_is_well_mixed() -> None:
    num_samples = 2**18
    rows = ComputedPermutation(num_samples, 0, 0, "h")(np.arange(num_samples, dtype=np.int64))
    # Every tenth of the epoch visits every tenth of the catalog equally often: chi-square with 81 degrees of freedom.
    tenths = np.histogram2d(np.arange(num_samples), rows, bins=10)[0]
    expected = num_samples / 100
    assert ((tenths - expected) ** 2 / expected).sum() < 135  # 1 in 10 000 by chance
    steps = np.diff(rows)
    assert np.abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 5 / np.sqrt(num_samples)
    assert len(np.unique(steps)) > num_samples / 2
    # A random permutation leaves one row in its place on average.
    assert (rows == np.arange(num_samples)).sum() < 10


def test_small_orders_stay_what_they_were() -> None:
    """Results of earlier releases rest on these."""
    assert Order(8, 3, "h").rows(np.arange(8, dtype=np.int64)).tolist() == SMALL_ORDER
    assert LISTED_SAMPLES == 2**20


def test_a_billion_samples_are_sought_in_no_time_and_no_memory() -> None:
    order = Order(10**9, 0, "h")
    ComputedPermutation(10, 0, 0)(np.arange(10, dtype=np.int64))
    tracemalloc.start()
    started = time.perf_counter()
    for position in (0, 1, 123_456_789, 10**9 - 512, 10**9 * 7 + 3):
        rows = order.rows(np.arange(position, position + 1024, dtype=np.int64))
        assert rows.min() >= 0
        assert rows.max() < 10**9
    seconds, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 1
    assert peak < 100 * 2**20
    some = order.rows(np.arange(10**9 // 2, 10**9 // 2 + 100_000, dtype=np.int64))
    assert len(np.unique(some)) == len(some)


WORLDS = st.sampled_from(range(1, 9))


@settings(max_examples=60)
@given(
    starts=st.lists(st.tuples(WORLDS, st.integers(0, 12)), max_size=6),
    checkpoint_every=st.integers(1, 5),
    num_batches=st.integers(1, 16),
    block=st.integers(1, 5),
    last=WORLDS,
    seed=st.integers(0, 3),
)
def test_any_kills_and_worlds_give_the_uninterrupted_batches(
    starts: list[tuple[int, int]], checkpoint_every: int, num_batches: int, block: int, last: int, seed: int
) -> None:
    """Runs that are killed after any step, and go on from their checkpoint with 1 to 8 workers, see the same ids."""
    size, order = 840, Order(1000, seed, "h")  # what all of 1 to 8 divide; epochs end inside batches
    whole = [order.rows(np.array(batch)).tolist() for batch in consumed(Layout(0, num_batches * size, size))]
    seen: dict[int, list[int]] = {}
    committed = 0
    for num_workers, num_steps in [*starts, (last, num_batches)]:
        rest = consumed(Layout(committed * size, num_batches * size, size, num_workers, block))
        for number, batch in enumerate(rest[:num_steps], committed):
            rows = order.rows(np.array(batch)).tolist()
            assert seen.setdefault(number, rows) == rows  # redone after a kill: the same again
        reached = min(num_batches, committed + num_steps)
        committed = max(committed, reached // checkpoint_every * checkpoint_every)
    assert [seen[number] for number in range(num_batches)] == whole
