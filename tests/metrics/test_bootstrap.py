"""Bootstrap over objects: estimates, coverage, clusters, refusals."""

import math

import numpy as np
import pytest

from eventsam.metrics.bootstrap import paired_bootstrap, ratio_bootstrap


def views(num_objects: int, num_views: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    effect = np.repeat(generator.normal(0.1, 0.2, num_objects), num_views)
    b = generator.random(num_objects * num_views)
    return b + effect + generator.normal(0, 0.02, b.shape), b, np.repeat(np.arange(num_objects), num_views)


def test_estimate_is_the_mean_difference_and_lies_inside() -> None:
    a, b, objects = views(20, 4, seed=0)
    interval = paired_bootstrap(a, b, objects, seed=1)
    assert interval.mean == pytest.approx((a - b).mean())
    assert interval.low < interval.mean < interval.high
    assert interval == paired_bootstrap(a, b, objects, seed=1)
    assert interval != paired_bootstrap(a, b, objects, seed=2)


def test_swapping_the_pair_mirrors_the_interval() -> None:
    a, b, objects = views(10, 3, seed=3)
    one, other = paired_bootstrap(a, b, objects), paired_bootstrap(b, a, objects)
    assert one.mean == pytest.approx(-other.mean)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_views_of_an_object_are_not_counted_as_objects() -> None:
    a, b, objects = views(12, 30, seed=4)
    clustered = paired_bootstrap(a, b, objects)
    as_if_independent = paired_bootstrap(a, b, np.arange(len(a)))
    assert clustered.high - clustered.low > 3 * (as_if_independent.high - as_if_independent.low)


def test_repeating_every_view_changes_nothing() -> None:
    a, b, objects = views(8, 2, seed=5)
    names = np.array([f"object_{i}" for i in objects])
    once = paired_bootstrap(a, b, names)
    twice = paired_bootstrap(np.tile(a, 2), np.tile(b, 2), np.tile(names, 2))
    assert tuple(once) == pytest.approx(tuple(twice))


def test_coverage_is_near_95_percent() -> None:
    hits = 0
    for seed in range(200):
        interval = paired_bootstrap(*views(30, 2, seed=seed), num_resamples=400, seed=seed)
        hits += interval.low <= 0.1 <= interval.high
    assert 176 <= hits <= 199


def test_objects_with_more_views_weigh_more_in_estimate_and_resamples() -> None:
    interval = paired_bootstrap([1.0, 0, 0, 0], [0.0, 0, 0, 0], ["a", "b", "b", "b"])
    assert interval.mean == 0.25
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_ratio_is_the_share_of_the_gap() -> None:
    a, b, objects = views(25, 2, seed=6)
    upper = b + 0.4
    share = ratio_bootstrap(b + 0.1, b, upper, objects)
    assert tuple(share) == pytest.approx((0.25, 0.25, 0.25))
    spread = ratio_bootstrap(a, b, upper, objects)
    assert spread.low < spread.mean < spread.high
    assert spread.mean == pytest.approx((a - b).mean() / 0.4)


def test_ratio_of_distances_where_less_is_better() -> None:
    sharp, blurry = np.full(10, 0.02), np.full(10, 0.06)
    assert tuple(ratio_bootstrap(np.full(10, 0.05), blurry, sharp, np.arange(10))) == pytest.approx((0.25,) * 3)


def test_a_gap_that_may_be_none_has_no_bounds() -> None:
    gaps = np.array([0.5, -0.4, 0.1, 0.05])
    share = ratio_bootstrap(gaps / 2, np.zeros(4), gaps, np.arange(4))
    assert share.mean == pytest.approx(0.5)
    assert math.isnan(share.low)
    assert math.isnan(share.high)
    assert all(math.isnan(value) for value in ratio_bootstrap([1.0], [0.5], [0.5], [0]))


def test_one_object_has_an_estimate_and_no_interval() -> None:
    interval = paired_bootstrap([0.5, 0.7], [0.1, 0.1], ["spot", "spot"])
    assert interval.mean == pytest.approx(0.5)
    assert math.isnan(interval.low)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"b has shape \(1,\), clusters \(2,\)"):
        paired_bootstrap([1.0, 2.0], [1.0], [0, 1])
    with pytest.raises(ValueError, match="ours holds 1 values that are not finite"):
        ratio_bootstrap([math.nan, 1.0], [0.0, 0.0], [1.0, 1.0], [0, 1])
    with pytest.raises(ValueError, match="expected"):
        paired_bootstrap([], [], [])
    with pytest.raises(ValueError, match="num_resamples"):
        paired_bootstrap([1.0], [0.0], [0], num_resamples=0)
