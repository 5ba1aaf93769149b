"""The order contract: a pure function of catalog, seed and epoch, cut among any number of workers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsam.order import Layout, Order, sample_generator

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
