"""Deblurring with the event-based double integral (Pan et al., CVPR 2019, eq. 6-8)."""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events


def deblur(
    rgb_blurry: NDArray[np.uint8], events: Events, t0: int, t1: int, t_ref: int, threshold: float
) -> NDArray[np.uint8]:
    """Return the latent sharp frame at `t_ref` of a frame exposed over [t0, t1) us: uint8 (3, H, W).

    L(t_ref) = B / mean over t in [t0, t1) of exp(c * (E(t) - E(t_ref))), where E(t) is the signed number of events of
    a pixel until t and c the contrast threshold in natural-log units. E is constant between events, so the mean is
    exact. One factor per pixel serves all three channels. The formula takes the sensor as logarithmic everywhere:
    below 20 grey levels the v2e pixel is linear, its events weigh less, and dark pixels come out over-corrected.
    Raises ValueError for sizes, times or thresholds that do not fit.
    """
    if rgb_blurry.dtype != np.uint8 or rgb_blurry.shape != (3, events.height, events.width):
        raise ValueError(
            f"rgb_blurry must be uint8 (3, {events.height}, {events.width}), got {rgb_blurry.dtype} {rgb_blurry.shape}"
        )
    if not t0 <= t_ref <= t1 or t0 == t1:
        raise ValueError(f"the reference time {t_ref} us must lie in the exposure [{t0}, {t1}]")
    if threshold <= 0:
        raise ValueError(f"threshold is {threshold}, allowed: above 0")
    within = events.between(t0, t1)
    mean = np.empty((events.height, events.width), np.float64)
    _mean_growth(within.x, within.y, within.t, within.p, t0, t1, t_ref, threshold, mean)
    sharp = rgb_blurry / mean
    return np.clip(np.rint(sharp), 0, 255).astype(np.uint8)


@compiled
def _mean_growth(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    t0: int,
    t1: int,
    t_ref: int,
    threshold: float,
    mean: NDArray[np.float64],
) -> None:
    """Write the time mean of exp(c * (E(t) - E(t_ref))) of every pixel."""
    height, width = mean.shape
    # exp(c * E) of each pixel now, its integral so far, when it last changed, and its value at the reference time.
    growth, last = np.ones((height, width)), np.full((height, width), t0)
    integral, reference = np.zeros((height, width)), np.ones((height, width))
    brighter, darker = np.exp(threshold), np.exp(-threshold)
    for n in range(len(t)):
        row, column = y[n], x[n]
        integral[row, column] += growth[row, column] * (t[n] - last[row, column])
        last[row, column] = t[n]
        growth[row, column] *= brighter if p[n] == 1 else darker
        if t[n] < t_ref:
            reference[row, column] = growth[row, column]
    for row in range(height):
        for column in range(width):
            total = integral[row, column] + growth[row, column] * (t1 - last[row, column])
            mean[row, column] = total / ((t1 - t0) * reference[row, column])
