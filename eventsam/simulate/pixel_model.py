"""The event pixel of v2e: luminance frames to events (Hu et al., CVPRW 2021), deterministic parts.

Photoreceptor: lin-log, then an intensity-dependent one-pole low-pass. Change detector: per-pixel thresholds, leak,
refractory period; the remainder below the threshold is kept for the next frame.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.simulate.pixel_loops import count_events, emit_events, time_order

Columns = tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64], NDArray[np.uint8]]

LINEAR_BELOW = 20.0
"""Grey level below which the photoreceptor responds linearly."""
MIN_THRESHOLD = 0.01


@dataclass(frozen=True)
class PixelState:
    """The memory of every pixel after a recording: low-passed log intensity and the level of its last event."""

    low_passed: NDArray[Any]
    base: NDArray[Any]


@dataclass(frozen=True)
class PixelModel:
    """Parameters of the sensor; defaults give an ideal sensor with 3 % threshold mismatch.

    Thresholds are in natural-log units: `threshold_sigma` is the spread between pixels, clipped at 0.01 and drawn from
    `seed`. `cutoff_hz` 0 turns the low-pass off, `leak_rate_hz` 0 the leak, `refractory_us` 0 the dead time.
    `timestamps`: "interpolated" places an event where the signal, taken as straight between frames, crosses the
    threshold; "slots" is v2e's rule, which cuts the interval into as many slots as the busiest pixel has events and
    gives every pixel's i-th event the i-th slot. Times are rounded up to whole microseconds and lie in
    (previous frame, this frame].
    """

    on_threshold: float = 0.2
    off_threshold: float = 0.2
    threshold_sigma: float = 0.03
    cutoff_hz: float = 0.0
    leak_rate_hz: float = 0.0
    refractory_us: int = 0
    timestamps: Literal["interpolated", "slots"] = "interpolated"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible sensors."""
        if min(self.on_threshold, self.off_threshold) < MIN_THRESHOLD:
            raise ValueError(
                f"thresholds are {self.on_threshold} and {self.off_threshold}, allowed: {MIN_THRESHOLD} and above"
            )
        for name in ("threshold_sigma", "cutoff_hz", "leak_rate_hz", "refractory_us"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed: 0 and above")
        if self.timestamps not in ("interpolated", "slots"):
            raise ValueError(f"unknown timestamps {self.timestamps!r} (allowed: interpolated, slots)")

    @property
    def nominal_threshold(self) -> float:
        """The mean of both thresholds, for algorithms that know the sensor's data sheet only."""
        return (self.on_threshold + self.off_threshold) / 2

    def __call__(self, frames: NDArray[Any], t_us: NDArray[np.int64]) -> Events:
        """Return the events of luminance frames (T, H, W), uint8 or float32 in 0..255, taken at `t_us` (T,).

        The first frame only sets the pixels' memory. Raises ValueError for wrong shapes, values or times.
        """
        height, width = _check_frames(frames, t_us)
        thresholds = self.draw_thresholds(height, width)
        return self.run(frames, t_us, *thresholds)[0]

    def draw_thresholds(self, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draw the ON and OFF thresholds of every pixel (H, W) from the seed."""
        generator = np.random.default_rng([self.seed, 0x7D5])
        drawn = []
        for nominal in (self.on_threshold, self.off_threshold):
            values = nominal + self.threshold_sigma * generator.standard_normal((height, width))
            drawn.append(np.maximum(values, MIN_THRESHOLD).astype(np.float32))
        return drawn[0], drawn[1]

    def run(
        self, frames: NDArray[Any], t_us: NDArray[np.int64], on: NDArray[np.float32], off: NDArray[np.float32]
    ) -> tuple[Events, PixelState]:
        """Like a call, with the thresholds (H, W) given and the pixels' final memory returned."""
        height, width = _check_frames(frames, t_us)
        # Without a low-pass the reference works in single precision, with one in double: event counts depend on it.
        precision = np.float64 if self.cutoff_hz > 0 else np.float32
        low_passed = lin_log(frames[0]).astype(precision)
        base: NDArray[Any] = low_passed.copy()
        last_event = np.full((height, width), -1e18)
        pieces: list[Columns] = []
        for index in range(1, len(frames)):
            start, step = int(t_us[index - 1]), int(t_us[index] - t_us[index - 1])
            before = low_passed - base
            low_passed = self._photoreceptor(frames[index], low_passed, step)
            if self.leak_rate_hz > 0:
                base -= np.float32(self.leak_rate_hz) * np.float32(step * 1e-6) * on
            pieces.append(self._detect(low_passed, before, base, (on, off), last_event, start, step))
        state = PixelState(low_passed, base)
        if not pieces:
            return Events.empty(height, width), state
        x, y, t, p = (np.concatenate([piece[column] for piece in pieces]) for column in range(4))
        return Events(x, y, t, p, height, width), state

    def _photoreceptor(self, frame: NDArray[Any], low_passed: NDArray[Any], step: int) -> NDArray[Any]:
        """Log intensity of a frame after the low-pass, whose speed grows with intensity."""
        logarithm = lin_log(frame)
        if self.cutoff_hz <= 0:
            return logarithm
        share = (frame.astype(np.float64) + 20) / 275 * (step * 1e-6) * (2 * np.pi * self.cutoff_hz)
        share = np.minimum(share, 1.0)
        passed: NDArray[Any] = (1 - share) * low_passed + share * logarithm
        return passed

    def _detect(
        self,
        signal: NDArray[Any],
        before: NDArray[Any],
        base: NDArray[Any],
        thresholds: tuple[NDArray[np.float32], NDArray[np.float32]],
        last_event: NDArray[np.float64],
        start: int,
        step: int,
    ) -> Columns:
        """The events of one interval, sorted by time; moves `base` and `last_event`."""
        counts = np.empty(signal.shape, np.int32)
        largest = count_events(signal, base, *thresholds, counts)
        number = int(np.abs(counts).sum())
        x, y, p = np.empty(number, np.uint16), np.empty(number, np.uint16), np.empty(number, np.uint8)
        offset = np.empty(number, np.int64)
        num_slots = largest if self.timestamps == "slots" else 0
        after = signal - base
        number = emit_events(
            counts,
            before,
            after,
            *thresholds,
            last_event,
            step,
            start,
            self.refractory_us,
            num_slots,
            base,
            x,
            y,
            offset,
            p,
        )
        order = np.empty(number, np.int64)
        time_order(offset[:number], np.zeros(step + 2, np.int64), order)
        return x[order], y[order], start + offset[order], p[order]


def lin_log(frame: NDArray[Any]) -> NDArray[np.float32]:
    """Photoreceptor response to grey levels: linear up to 20, natural log above, equal at 20; float32.

    Computed in double and rounded to 1e-8, as the reference does against noise at the seam.
    """
    grey = frame.astype(np.float64)
    slope = np.log(LINEAR_BELOW) / LINEAR_BELOW
    response = np.where(grey <= LINEAR_BELOW, grey * slope, np.log(np.maximum(grey, LINEAR_BELOW)))
    return np.round(response, 8).astype(np.float32)


def _check_frames(frames: NDArray[Any], t_us: NDArray[np.int64]) -> tuple[int, int]:
    if frames.ndim != 3 or frames.dtype not in (np.uint8, np.float32):
        raise ValueError(f"frames are (T, H, W) uint8 or float32, got {frames.shape} {frames.dtype}")
    if t_us.shape != (len(frames),) or t_us.dtype != np.int64:
        raise ValueError(f"t_us is int64 of shape ({len(frames)},), got {t_us.shape} {t_us.dtype}")
    if len(t_us) == 0 or (np.diff(t_us) <= 0).any():
        raise ValueError("frame times must exist and rise")
    if frames.dtype == np.float32 and not (np.isfinite(frames).all() and frames.min() >= 0 and frames.max() <= 255):
        raise ValueError("luminance frames must lie in 0..255")
    return int(frames.shape[1]), int(frames.shape[2])
