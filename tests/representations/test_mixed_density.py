"""MixedDensity: against the published float32 arithmetic in torch, saturating and wrapping."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.events import Events
from eventsam.representations.mixed_density import MixedDensity, log_shares

HEIGHT, WIDTH = 4, 6


def bins_by_torch(share: torch.Tensor, num_bins: int) -> torch.Tensor:
    position = num_bins - torch.log(share.clamp(min=1e-6, max=1 - 1e-6)) / math.log(1 / 2)
    return position.clamp(min=0).floor().to(torch.int64)


@pytest.mark.parametrize("num_bins", [1, 2, 5, 10, 16, 24])
def test_bins_start_where_the_float32_logarithm_puts_them(num_bins: int) -> None:
    starts = log_shares(num_bins)
    bits = starts[starts > 1e-6].view(np.int32)[:, None] + np.arange(-6, 7, dtype=np.int32)
    shares = np.concatenate([bits.reshape(-1).view(np.float32), np.float32([0, 1, 1e-6, 0.3])])
    found = np.searchsorted(starts, shares, side="right") - 1
    assert found.tolist() == bins_by_torch(torch.from_numpy(shares), num_bins).clamp(max=num_bins - 1).tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 400), st.sampled_from([0, 3, 1000, 50_000, 10**10]), st.integers(1, 12))
def test_equals_the_published_arithmetic(seed: int, num_events: int, span: int, num_bins: int) -> None:
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(1000, 1001 + span, num_events))
    x, y, p = random.integers(0, WIDTH, num_events), random.integers(0, HEIGHT, num_events), t % 5 != 0
    events = Events.from_arrays(x, y, t, p, height=HEIGHT, width=WIDTH)
    expected = np.zeros((num_bins, HEIGHT, WIDTH), np.int64)
    if num_events:
        age = torch.from_numpy(t - t[0])
        bins = bins_by_torch(age / max(int(age[-1]), 1), num_bins).numpy()
        np.add.at(expected, (bins, y, x), 2 * p.astype(int) - 1)
    expected = expected.cumsum(axis=0)
    plain = MixedDensity(num_bins, None)(events, 0, 2**40)
    assert plain.dtype == np.int8
    np.testing.assert_array_equal(plain, expected.clip(-127, 127))
    np.testing.assert_array_equal(MixedDensity(num_bins, 3)(events, 0, 2**40), expected.clip(-3, 3))
    wrapped = MixedDensity(num_bins, 32, wrapping=True)(events, 0, 2**40)
    np.testing.assert_array_equal(wrapped, expected.astype(np.int8).clip(-32, 32))


def test_saturates_or_wraps() -> None:
    n = 300
    events = Events.from_arrays([3] * n, [2] * n, [5] * n, [1] * n, height=HEIGHT, width=WIDTH)
    assert MixedDensity(4)(events, 0, 10)[:, 2, 3].tolist() == [32] * 4
    assert MixedDensity(4, None, wrapping=True)(events, 0, 10)[:, 2, 3].tolist() == [44] * 4


@pytest.mark.parametrize(
    "choices", [{"num_bins": 0}, {"count_cutoff": 0}, {"count_cutoff": 128}, {"count_cutoff": True}]
)
def test_impossible_choices_are_refused(choices: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(choices))):
        MixedDensity(**choices)  # type: ignore[arg-type]
