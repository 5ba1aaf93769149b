"""The front of the event pixel: lin-log response, the low-pass whose speed grows with light, shot-noise chances."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled

Floats = NDArray[Any]

LINEAR_BELOW = 20.0
"""Grey level below which the photoreceptor responds linearly."""
FULL_SCALE = 275.0
"""Divides (grey + 20): the brightness in (0, 1] that the low-pass and the shot noise know."""
SHOT_NOISE_FALL = 0.75
"""How much of the shot-noise rate is lost from dark to white."""
RESOLVED_SHARE = 0.3
"""Largest step of the low-pass, as a share of what is left to go, that still follows the one-pole curve."""
_WORD_RANGE = 2.0**32


def lin_log(frame: NDArray[Any]) -> NDArray[np.float32]:
    """Photoreceptor response to grey levels: linear up to 20, natural log above, equal at 20; float32.

    Computed in double and rounded to 1e-8, as the reference does against noise at the seam.
    """
    grey = frame.astype(np.float64)
    slope = np.log(LINEAR_BELOW) / LINEAR_BELOW
    response = np.where(grey <= LINEAR_BELOW, grey * slope, np.log(np.maximum(grey, LINEAR_BELOW)))
    return np.round(response, 8).astype(np.float32)


def low_pass_shares(grey: NDArray[Any], step_s: float, cutoff_hz: float) -> NDArray[np.float64]:
    """The share of its way that the low-pass goes within a step: (grey + 20) / 275 * dt / tau, at most 1."""
    share = (grey.astype(np.float64) + LINEAR_BELOW) / FULL_SCALE * step_s * (2 * np.pi * cutoff_hz)
    bounded: NDArray[np.float64] = np.minimum(share, 1.0)
    return bounded


def white_share(step_s: float, cutoff_hz: float) -> float:
    """The unbounded share of a white pixel, dt / tau: above 0.3 the filter is not resolved in time."""
    return step_s * 2 * np.pi * cutoff_hz


def shot_noise_rate(grey: NDArray[Any], rate_hz: float) -> NDArray[np.float64]:
    """Expected shot-noise events per second (both polarities) of a pixel at its nominal thresholds."""
    rate: NDArray[np.float64] = rate_hz * (1 - SHOT_NOISE_FALL * (grey.astype(np.float64) + LINEAR_BELOW) / FULL_SCALE)
    return rate


def shot_noise_chances(grey: NDArray[Any], step_s: float, rate_hz: float) -> NDArray[np.float32]:
    """The chance of a shot-noise event of one polarity within a step, in units of 2^-32, at most a half."""
    chance = np.minimum(shot_noise_rate(grey, rate_hz) / 2 * step_s, 0.5)
    return (chance * _WORD_RANGE).astype(np.float32)


@compiled
def low_pass(low_passed: Floats, new: Floats, share: NDArray[np.float64]) -> None:
    """Move `low_passed` (N,) towards `new` (N,) by `share` (N,) in place."""
    for n in range(len(low_passed)):
        low_passed[n] = (1 - share[n]) * low_passed[n] + share[n] * new[n]


@dataclass(frozen=True)
class Tables:
    """What the pixels of a frame look up: by grey level for uint8 frames (256 entries), else by pixel (N entries).

    `levels` is the lin-log response; `shares` and `chances` are empty where the low-pass or the shot noise is off.
    """

    levels: Floats
    shares: NDArray[np.float64]
    chances: NDArray[np.float32]

    @classmethod
    def of(cls, grey: NDArray[Any], step_s: float, cutoff_hz: float, shot_rate_hz: float) -> "Tables":
        """The entries for grey levels (N,) and one step between frames."""
        precision = np.float64 if cutoff_hz > 0 else np.float32
        empty = grey[:0]
        return cls(
            lin_log(grey).astype(precision),
            low_pass_shares(grey if cutoff_hz > 0 else empty, step_s, cutoff_hz),
            shot_noise_chances(grey if shot_rate_hz > 0 else empty, step_s, shot_rate_hz),
        )

    def of_pixels(self, image: NDArray[np.uint8]) -> "Tables":
        """Entries by pixel of an image (N,) from entries by grey level."""
        shares = self.shares[image] if len(self.shares) else self.shares
        chances = self.chances[image] if len(self.chances) else self.chances
        return Tables(self.levels[image], shares, chances)
