"""Noise of the event pixel beyond shot noise: uneven leak, hot pixels, photoreceptor noise."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.simulate.counter_random import HOT_PIXEL, PHOTORECEPTOR, Key, fill_normal, normal_quantiles, unit_uniform

Floats = NDArray[Any]

_RATE_CURVE = (-0.0026, -0.036, -0.1949, 0.321)
"""log10(threshold / noise voltage) as a cubic in log10(noise events per second / cutoff / 2); v2e's fit."""


def draw_leak_rates(seed: int, num_pixels: int, rate_hz: float, spread_decades: float) -> NDArray[np.float32]:
    """Draw the leak rate of every pixel (N,) in Hz: log-normal around the nominal rate; one entry without spread."""
    if spread_decades == 0:
        return np.full(1, rate_hz, np.float32)
    draws = np.random.default_rng([seed, 0x1EA]).standard_normal(num_pixels)
    rates: NDArray[np.float32] = (rate_hz * 10 ** (spread_decades * draws)).astype(np.float32)
    return rates


def leak_jitter(fraction: float) -> NDArray[np.float32]:
    """The equally likely factors (4096,) of the leak within an interval: 1 minus a normal variate times `fraction`."""
    factors: NDArray[np.float32] = (1 - fraction * normal_quantiles()).astype(np.float32)
    return factors


def photoreceptor_voltage(threshold: float, shot_rate_hz: float, cutoff_hz: float, share: float) -> float:
    """Rms of the white noise per frame whose low-passed version crosses `threshold` at about the shot-noise rate.

    The needed rms after the low-pass follows v2e's fitted curve; before it, it is larger by sqrt((2 - e) / e), the
    exact loss of a one-pole filter of step share e on white noise (v2e measures it on a noise run).
    """
    x = np.log10(shot_rate_hz / cutoff_hz / 2)
    ratio = 10 ** np.polyval(_RATE_CURVE, x)
    return float(threshold / ratio * np.sqrt((2 - share) / share))


class PhotoreceptorNoise:
    """White Gaussian noise of every pixel, low-passed at the cutoff and added to the signal."""

    def __init__(self, num_pixels: int, threshold: float, shot_rate_hz: float, cutoff_hz: float, key: Key) -> None:
        """`threshold` is the pixels' mean smaller threshold in log units."""
        self._threshold, self._shot_rate_hz, self._cutoff_hz, self._key = threshold, shot_rate_hz, cutoff_hz, key
        self._level = np.zeros(num_pixels)
        self._draws = np.empty(num_pixels, np.float32)

    def __call__(self, step_s: float, frame: int) -> Floats:
        """Return the noise (N,) after a step."""
        share = min(step_s * 2 * np.pi * self._cutoff_hz, 1.0)
        voltage = photoreceptor_voltage(self._threshold, self._shot_rate_hz, self._cutoff_hz, share)
        fill_normal(self._draws, np.uint64(frame), PHOTORECEPTOR, self._key)
        self._level = (1 - share) * self._level + share * voltage * self._draws
        return self._level


class HotPixels:
    """Pixels that fire ON events by themselves, as a Poisson process, and otherwise behave like all others."""

    def __init__(self, seed: int, num_pixels: int, share: float, rate_hz: float, key: Key) -> None:
        """Choose each pixel with probability `share`."""
        chosen = np.random.default_rng([seed, 0x407]).random(num_pixels) < share
        self._pixels = np.flatnonzero(chosen).astype(np.int64)
        self._mean_us, self._key = 1e6 / rate_hz, key
        self._next_us = np.zeros(len(self._pixels))
        self._num_draws = np.zeros(len(self._pixels), np.int64)
        self.until(0.0)

    def until(self, end_us: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return pixel and time (us since the first frame) of the events not returned yet, up to `end_us`, by pixel."""
        arguments = (self._pixels, self._next_us, self._num_draws, end_us, self._mean_us, self._key)
        none = np.empty(0, np.int64)
        number = advance_hot_pixels(*arguments, none, np.empty(0), False)
        pixel, time_us = np.empty(number, np.int64), np.empty(number)
        advance_hot_pixels(*arguments, pixel, time_us, True)
        return pixel, time_us


@compiled
def advance_hot_pixels(
    pixels: NDArray[np.int64],
    next_us: NDArray[np.float64],
    num_draws: NDArray[np.int64],
    end_us: float,
    mean_us: float,
    key: Key,
    pixel: NDArray[np.int64],
    time_us: NDArray[np.float64],
    write: bool,
) -> int:
    """Count the events up to `end_us`; with `write`, also write them and remember what comes next."""
    number = 0
    for n in range(len(pixels)):
        upcoming, draws = next_us[n], num_draws[n]
        while upcoming <= end_us:
            # The first draw, at time 0, only places the first event.
            if draws > 0:
                if write:
                    pixel[number], time_us[number] = pixels[n], upcoming
                number += 1
            uniform = unit_uniform(pixels[n], draws, HOT_PIXEL, key)
            upcoming -= mean_us * np.log(uniform)
            draws += 1
        if write:
            next_us[n], num_draws[n] = upcoming, draws
    return number
