"""Metric states: exact merging in any order, padding, arrays there and back."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventsam.metrics.state import Mean, PerSample

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e100, max_value=1e100)
wild = st.one_of(finite, st.just(math.nan), st.just(math.inf))
parts = st.lists(st.lists(st.tuples(st.integers(0, 9), finite), max_size=5), min_size=1, max_size=5)


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@given(parts, st.randoms(use_true_random=False))
def test_per_sample_merge_is_free_of_order_and_grouping(rows, random) -> None:
    states = [PerSample([i for i, _ in part], [v for _, v in part]) for part in rows]
    left = states[0]
    for state in states[1:]:
        left = left.merge(state)
    random.shuffle(states)
    right = states[-1]
    for state in reversed(states[:-1]):
        right = state.merge(right)
    assert np.array_equal(left.to_array(), right.to_array())
    assert same(left.mean(), right.mean())


@given(st.lists(st.lists(wild, max_size=4), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_mean_merge_is_free_of_order_and_grouping(rows, random) -> None:
    states = [Mean(part) for part in rows]
    left = states[0]
    for state in states[1:]:
        left = left.merge(state)
    random.shuffle(states)
    right = states[-1]
    for state in reversed(states[:-1]):
        right = state.merge(right)
    assert left.count == right.count
    assert same(left.mean(), right.mean())


@given(st.lists(finite, min_size=1, max_size=30))
def test_mean_is_the_exact_sum_over_the_count(values) -> None:
    assert Mean(values).mean() == float(sum(map(Fraction, values))) / len(values)


def test_a_sample_seen_twice_counts_once() -> None:
    state = PerSample([3, 1, 3], [0.5, 1.0, 0.5])
    assert len(state) == 2
    assert state.mean() == 0.75
    merged = state.merge(PerSample([1, 7], [1.0, 0.0]))
    assert merged.to_array().tolist() == [[1.0, 1.0], [3.0, 0.5], [7.0, 0.0]]
    assert len(state) == 2, "merging must not change its arguments"


def test_values_that_differ_keep_the_smaller_and_nan_shows() -> None:
    assert PerSample([1], [0.3]).merge(PerSample([1], [0.2])).mean() == 0.2
    assert math.isnan(PerSample([1], [0.3]).merge(PerSample([1], [math.nan])).mean())
    assert math.isnan(PerSample([1, 2], [0.3, math.nan]).mean())


@given(parts)
def test_arrays_go_there_and_back_and_stack(rows) -> None:
    for kind in (PerSample, Mean):
        states = [
            PerSample([i for i, _ in part], [v for _, v in part]) if kind is PerSample else Mean([v for _, v in part])
            for part in rows
        ]
        merged = states[0]
        for state in states[1:]:
            merged = merged.merge(state)
        for array in (merged.to_array(), np.concatenate([state.to_array() for state in states])):
            assert array.dtype == np.float64
            assert array.ndim == 2
            assert same(kind.from_array(array).mean(), merged.mean())


def test_tensors_are_taken() -> None:
    state = PerSample(torch.tensor([5, 6]), torch.tensor([0.25, 0.75], dtype=torch.float64))
    assert state.mean() == 0.5
    assert Mean(torch.tensor([[1.0, 2.0]])).mean() == 1.5
    large = PerSample([2**40 + 1], [1.0])
    assert PerSample.from_array(large.to_array()).to_array()[0, 0] == 2**40 + 1


def test_empty_states_have_no_mean() -> None:
    for kind in (PerSample, Mean):
        assert math.isnan(kind().mean())
        assert kind().to_array().shape == (0, 2)
        assert math.isnan(kind.from_array(np.empty((0, 2))).mean())
    assert Mean([0.0, 0.0]).mean() == 0.0
    assert Mean.from_array(Mean([0.0, 0.0]).to_array()).count == 2


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"\(2,\) sample indices for \(1,\) values"):
        PerSample([1, 2], [0.5])
    with pytest.raises(ValueError, match=r"shape \(n, 2\), got \(3,\)"):
        PerSample.from_array(np.zeros(3))
    with pytest.raises(ValueError, match=r"shape \(n, 2\), got \(2, 3\)"):
        Mean.from_array(np.zeros((2, 3)))
