"""Signals between photoreceptor and change detector: a diffusing surround (CSDVS), an adapting high-pass (SCIDVS)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled

Floats = NDArray[Any]

STEPS_PER_TAU = 5
SETTLED = 1e-5
"""Largest change of a step, in log units, at which the surround counts as settled."""
SHORTEST_TAU_S = 1e-9
"""Stands for "at once" where no photoreceptor time constant is given."""

SCIDVS_GAIN = 2.0
SCIDVS_TAU_S = 0.01
SCIDVS_TAU_SPREAD = 0.5
"""Standard deviation of the log of the pixels' time constants."""
_SINH_FOLD = np.float32(1 / 0.7)
_RUN_AWAY = 30.0
"""Log units that no scene reaches."""


class Surround:
    """A resistive grid that averages the photoreceptors over about `width_px`; the signal is centre minus surround.

    dh/dt = (v - h) / tau_p + laplacian(h) * width^2 / tau_p with mirrored borders (Delbruck et al., "Utility and
    feasibility of a center surround event camera", ICIP 2022), by Euler steps of a fifth of the smaller time constant.
    """

    def __init__(self, height: int, width: int, width_px: float, tau_ms: float | None) -> None:
        """Prepare for frames of a size; the first signal starts the grid."""
        self._size = (height, width)
        self._tau_s = tau_ms * 1e-3 if tau_ms else SHORTEST_TAU_S
        self._diffusion_tau_s = self._tau_s / width_px**2
        self._level: Floats | None = None

    def __call__(self, low_passed: Floats, step_s: float) -> Floats:
        """Return centre minus surround (N,) after a step; the first call gives zeros."""
        centre = low_passed.reshape(self._size)
        if self._level is None:
            self._level = centre.copy()
        else:
            self._settle(centre, self._level, step_s)
        signal: Floats = (centre - self._level).ravel()
        return signal

    def _settle(self, centre: Floats, level: Floats, step_s: float) -> None:
        num_steps = int(np.ceil(step_s / min(self._tau_s, self._diffusion_tau_s) * STEPS_PER_TAU))
        part = step_s / num_steps
        towards = centre.dtype.type(part / self._tau_s)
        across = np.float32(part / self._diffusion_tau_s)
        diffuse(centre, level, towards, across, num_steps, np.float32(SETTLED))


@compiled
def diffuse(
    centre: Floats, level: Floats, towards: float, across: np.float32, num_steps: int, settled: np.float32
) -> int:
    """Step the surround `level` (H, W) in place until it settles or the steps are used up; return the steps taken."""
    height, width = level.shape
    old = np.empty(level.shape, np.float32)
    for step in range(num_steps):
        largest = np.float32(0)
        for row in range(height):
            for column in range(width):
                old[row, column] = np.float32(level[row, column])
        for row in range(height):
            above, below = old[max(row - 1, 0)], old[min(row + 1, height - 1)]
            here = old[row]
            for column in range(width):
                left, right = here[max(column - 1, 0)], here[min(column + 1, width - 1)]
                # The Laplacian in single precision, summed in raster order, as the reference's convolution does.
                bend = above[column] + left - np.float32(4) * here[column] + right + below[column]
                change = towards * (centre[row, column] - level[row, column]) + across * bend
                largest = max(largest, np.float32(abs(change)))
                level[row, column] += change
        if not largest > settled:
            return step + 1
    return num_steps


class AdaptingHighPass:
    """SCIDVS: changes of the photoreceptor, amplified twice, decay through a sinh conductance.

    dv/dt = dL/dt - sinh(0.7 v) / tau, tau = 10 ms times a log-normal factor per pixel. The decay is taken exactly:
    tanh(0.35 v) shrinks by exp(-0.7 dt / tau). `as_reference` takes one Euler step instead, and loses the first change.
    """

    def __init__(self, tau_s: NDArray[np.float32], as_reference: bool) -> None:
        """`tau_s` (N,) are the pixels' time constants."""
        self._inverse_tau = np.float32(1) / tau_s
        self._as_reference = as_reference
        self._level: Floats | None = None
        self._previous: Floats | None = None
        self._num_calls = 0

    def __call__(self, low_passed: Floats, step_s: float) -> Floats:
        """Return the signal (N,) after a step; the first call gives zeros.

        Raises ValueError where the reference's Euler steps are too long and run away.
        """
        self._num_calls += 1
        if self._level is None or self._previous is None or (self._as_reference and self._num_calls == 2):
            self._level = np.zeros_like(low_passed)
        elif self._as_reference:
            decay = self._inverse_tau * np.sinh(self._level / _SINH_FOLD)
            self._level += (low_passed - self._previous) - low_passed.dtype.type(step_s) * decay
            if not np.abs(self._level).max() < _RUN_AWAY:
                raise ValueError(f"frames {step_s * 1e3:.3g} ms apart are too far for scidvs_startup='reference'")
        else:
            shrink = np.exp(-np.float32(step_s) * self._inverse_tau / _SINH_FOLD)
            rest = 2 * _SINH_FOLD * np.arctanh(shrink * np.tanh(self._level / (2 * _SINH_FOLD)))
            self._level = (low_passed - self._previous) + rest
        self._previous = low_passed.copy()
        signal: Floats = low_passed.dtype.type(SCIDVS_GAIN) * self._level
        return signal


def draw_scidvs_tau(seed: int, num_pixels: int) -> NDArray[np.float32]:
    """Draw the time constants (N,) of a sensor's pixels in seconds."""
    generator = np.random.default_rng([seed, 0x5C1])
    factor = np.exp(SCIDVS_TAU_SPREAD * generator.standard_normal(num_pixels))
    tau: NDArray[np.float32] = (SCIDVS_TAU_S * factor).astype(np.float32)
    return tau
