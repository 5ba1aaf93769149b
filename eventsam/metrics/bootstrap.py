"""Bootstrap intervals of paired comparisons; they resample objects, since views of one object are no new draws."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with its percentile bootstrap interval; NaN bounds where it has none."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    values_a: ArrayLike,
    values_b: ArrayLike,
    clusters: ArrayLike,
    num_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Return mean(a - b) with its interval; values (n,) pair up by sample, `clusters` (n,) name each sample's object.

    Objects are drawn with replacement, all their samples with them (cluster bootstrap; Davison and Hinkley 1997,
    section 3.8). With one object there is nothing to resample: the bounds are NaN.
    Raises ValueError for unequal lengths, no samples or values that are not finite.
    """
    a, b, index = _paired(clusters, a=values_a, b=values_b)
    sums, counts = np.bincount(index, a - b), np.bincount(index).astype(np.float64)
    draws = _draws(len(counts), num_resamples, seed)
    return _interval(float((a - b).mean()), (draws @ sums) / (draws @ counts), len(counts), confidence)


def ratio_bootstrap(
    ours: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    clusters: ArrayLike,
    num_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Return the share of a gap that is closed, mean(ours - lower) / mean(upper - lower), with its interval.

    `lower` and `upper` are the bounds (blurry, sharp); for distances, where less is better, all signs turn and the
    share stays right. A resample's share means nothing once its gap has gone or changed its sign: if any does, the
    bounds are NaN, and the share itself where the gap is 0. Arguments and errors as for `paired_bootstrap`.
    """
    our_values, low_values, high_values, index = _paired(clusters, ours=ours, lower=lower, upper=upper)
    gains = np.bincount(index, our_values - low_values)
    gaps = np.bincount(index, high_values - low_values)
    total = float(gaps.sum())
    if total == 0:
        return Interval(math.nan, math.nan, math.nan)
    draws = _draws(len(gaps), num_resamples, seed)
    drawn_gaps = draws @ gaps
    share = float(gains.sum()) / total
    if np.any(drawn_gaps * np.sign(total) <= 0):
        return Interval(share, math.nan, math.nan)
    return _interval(share, (draws @ gains) / drawn_gaps, len(gaps), confidence)


def _paired(clusters: ArrayLike, **values: ArrayLike) -> tuple[NDArray[Any], ...]:
    """Return the values as float64 and each sample's cluster as a number 0..K-1."""
    labels = np.asarray(clusters)
    arrays = {name: np.asarray(value, np.float64) for name, value in values.items()}
    for name, array in arrays.items():
        if array.shape != labels.shape or array.ndim != 1 or len(array) == 0:
            raise ValueError(f"{name} has shape {array.shape}, clusters {labels.shape}; expected (n,), n >= 1")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds {np.count_nonzero(~np.isfinite(array))} values that are not finite")
    return (*arrays.values(), np.unique(labels, return_inverse=True)[1])


@lru_cache(maxsize=16)
def _draws(num_clusters: int, num_resamples: int, seed: int) -> Array:
    """Return how often each resample draws each cluster, (num_resamples, K): drawn once for a whole table."""
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1, got {num_resamples}")
    generator = np.random.default_rng(seed)
    shares = np.full(num_clusters, 1 / num_clusters)
    draws = generator.multinomial(num_clusters, shares, size=num_resamples).astype(np.float64)
    draws.flags.writeable = False
    return draws


def _interval(mean: float, resampled: Array, num_clusters: int, confidence: float) -> Interval:
    if num_clusters < 2:
        return Interval(mean, math.nan, math.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(mean, float(low), float(high))
