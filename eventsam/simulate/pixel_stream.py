"""A running event sensor: frames in one by one, events out, memory bounded by the sensor's size."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.simulate.counter_random import key_of
from eventsam.simulate.photoreceptor import RESOLVED_SHARE, white_share
from eventsam.simulate.pixel_light import LightPath
from eventsam.simulate.pixel_loops import TILE, Noise, interval_events
from eventsam.simulate.pixel_noise import HotPixels, draw_leak_rates, leak_jitter
from eventsam.simulate.pixel_state import Columns, PixelState, check_image
from eventsam.simulate.pixel_timing import Clock, Column, Firing, Pixels

if TYPE_CHECKING:
    from eventsam.simulate.pixel_model import PixelModel

Thresholds = tuple[NDArray[np.float32], NDArray[np.float32]]

log = logging.getLogger(__name__)


class PixelStream:
    """One sensor in operation. The events of a frame depend on the frames so far, never on threads or on chunks.

    `frame` and `frame_at` return the events of the interval since the frame before, ordered by (t, y, x); the first
    frame only sets the pixels' memory. Frames are (H, W) uint8, or float32 in 0..255; the first decides which: later
    uint8 frames of a float32 stream are converted. With `exact_times`, `exact_s` holds the times of the last returned
    events in seconds, before they were rounded to whole microseconds.
    """

    _pixels: Pixels
    _firing: Firing
    _column: Column

    def __init__(
        self,
        model: "PixelModel",
        height: int,
        width: int,
        *,
        thresholds: Thresholds | None = None,
        scidvs_tau_s: NDArray[np.float32] | None = None,
        exact_times: bool = False,
    ) -> None:
        """Draw the sensor's fixed pattern from the model's seed, unless thresholds or time constants are given."""
        self.model, self.height, self.width = model, height, width
        on, off = thresholds or model.draw_thresholds(height, width)
        for part in (on, off):
            if part.shape != (height, width):
                raise ValueError(f"thresholds are {on.shape} and {off.shape}, expected ({height}, {width})")
        self._on, self._off = (np.ascontiguousarray(part, dtype=np.float32).ravel() for part in (on, off))
        self._key = key_of(model.seed)
        self._exact_times = exact_times
        self.exact_s: NDArray[np.float64] = np.empty(0)
        self._num_frames = 0
        self._t_us = self._origin_us = 0
        self._origin_s = self._passed_s = 0.0
        smaller = float(np.minimum(self._on, self._off).mean())
        self._light = LightPath(model, height, width, smaller, self._key, scidvs_tau_s)
        self._hot: HotPixels | None = None
        if model.hot_pixel_share > 0 and model.hot_pixel_rate_hz > 0:
            share, rate_hz = model.hot_pixel_share, model.hot_pixel_rate_hz
            self._hot = HotPixels(model.seed, height * width, share, rate_hz, self._key)
        self._uneven_leak = model.leak_rate_hz > 0 and (
            model.leak_jitter_fraction > 0 or model.noise_rate_cov_decades > 0
        )
        self._jitter = leak_jitter(model.leak_jitter_fraction) if self._uneven_leak else np.empty(0, np.float32)
        self._warned = False

    def frame(self, image: NDArray[Any], t_us: int) -> Events:
        """Take the frame of time `t_us` and return the events in (previous frame, this frame].

        Raises ValueError for a frame of another size or dtype, values outside 0..255 or a time that does not rise.
        """
        return Events(*self.columns(image, t_us), self.height, self.width)

    def frame_at(self, image: NDArray[Any], seconds: float) -> Events:
        """Like `frame`, at a time that need not be a whole us; events keep whole us, intervals their exact length."""
        return Events(*self.columns(image, round(seconds * 1e6), seconds), self.height, self.width)

    @property
    def state(self) -> PixelState:
        """The pixels' memory now; raise ValueError before the first frame."""
        if self._num_frames == 0:
            raise ValueError("the stream has seen no frame yet")
        size = (self.height, self.width)
        return PixelState(self._light.level().reshape(size).copy(), self._pixels.base.reshape(size).copy())

    def columns(self, image: NDArray[Any], t_us: int, seconds: float | None = None) -> Columns:
        """What `frame` (or, with `seconds`, `frame_at`) returns, as bare x, y, t, p."""
        grey = self._checked(image)
        if self._num_frames == 0:
            self._start(grey, t_us, seconds)
            return np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.int64), np.empty(0, np.uint8)
        if t_us <= self._t_us:
            raise ValueError(f"frame {self._num_frames} is at {t_us} us, not after the last one at {self._t_us} us")
        clock = self._clock(t_us, seconds)
        light = self._light.advance(grey, clock.step_s, self._num_frames)
        x, y, t, p, exact = interval_events(
            self._pixels, light, self._noise(clock), clock, self._firing, self._column, self._exact_times
        )
        if len(t) > len(self._column.place):
            self._column = column_of(2 * len(t), self._exact_times)
        if self._exact_times:
            self.exact_s = self._origin_s + clock.start_s + exact * 1e-6
        # Not the sum of the steps: their rounding would add up.
        self._t_us = t_us
        self._passed_s = (t_us - self._origin_us) / 1e6 if seconds is None else seconds - self._origin_s
        self._num_frames += 1
        return x, y, t, p

    def _checked(self, image: NDArray[Any]) -> NDArray[Any]:
        check_image(image, self.height, self.width, self._num_frames)
        if self._num_frames == 0:
            self._dtype = image.dtype
        elif self._dtype == np.uint8 and image.dtype != np.uint8:
            raise ValueError(f"frame {self._num_frames} is {image.dtype} in a stream that began with uint8")
        # A copy: the caller may write the next frame into the same buffer.
        flat: NDArray[Any] = image.astype(self._dtype).ravel()
        return flat

    def _start(self, grey: NDArray[Any], t_us: int, seconds: float | None) -> None:
        model, num_pixels = self.model, len(grey)
        self._t_us = self._origin_us = t_us
        self._origin_s, self._passed_s = t_us / 1e6 if seconds is None else seconds, 0.0
        base = self._light.start(grey).copy()
        low_passed = self._light.low_passed
        rates = np.empty(0, np.float32)
        if model.leak_rate_hz > 0:
            rates = draw_leak_rates(model.seed, num_pixels, model.leak_rate_hz, model.noise_rate_cov_decades)
            if self._uneven_leak:
                rates = np.broadcast_to(rates, num_pixels).copy()
        last = np.full(num_pixels if model.refractory_us > 0 else 0, -np.inf)
        # A low-pass that a later stage reads was done before the loop.
        inside = low_passed[:0] if self._light.whole_image else low_passed
        self._pixels = Pixels(base, inside, self._on, self._off, rates, last)
        self._firing = firing_of(num_pixels, base.dtype)
        self._column = column_of(num_pixels // 4 + 1, self._exact_times)
        self._num_frames = 1

    def _clock(self, t_us: int, seconds: float | None) -> Clock:
        whole = t_us - self._t_us
        if seconds is None:
            lead_us, step_s, step_us = 0.0, whole * 1e-6, float(whole)
        else:
            step_s = (seconds - self._origin_s) - self._passed_s
            lead_us, step_us = (self._origin_s + self._passed_s) * 1e6 - self._t_us, step_s * 1e6
        self._warn_once(step_s)
        return Clock(
            start_us=np.int64(self._t_us),
            whole_step=np.int64(whole),
            lead_us=lead_us,
            origin_us=self._t_us - self._origin_us + lead_us,
            step_us=step_us,
            start_s=self._passed_s,
            step_s=step_s,
            refractory_us=float(self.model.refractory_us),
            slots=self.model.timestamps == "slots",
            width=self.width,
        )

    def _noise(self, clock: Clock) -> Noise:
        model = self.model
        pixel, offset_us = np.empty(0, np.int64), np.empty(0)
        if self._hot is not None:
            pixel, time_us = self._hot.until(clock.origin_us + clock.step_us)
            offset_us = time_us - clock.origin_us
        step_s = np.float32(clock.step_s)
        return Noise(
            leak_step=np.float32(model.leak_rate_hz) * step_s,
            step_s=step_s,
            jitter=self._jitter,
            nominal_on=np.float32(model.on_threshold),
            nominal_off=np.float32(model.off_threshold),
            hot_pixel=pixel,
            hot_offset_us=offset_us,
            key=self._key,
            frame=np.uint64(self._num_frames),
        )

    def _warn_once(self, step_s: float) -> None:
        """Say once where the frames come too slowly for what the sensor is asked to do."""
        if self._warned:
            return
        for warning in sampling_warnings(self.model, step_s):
            self._warned = True
            log.warning("%s", warning)


def firing_of(num_pixels: int, precision: np.dtype[Any]) -> Firing:
    """Room for the pixels that fire within an interval."""
    pixel, number = (np.empty(num_pixels, np.int32) for _ in range(2))
    before, signal = (np.empty(num_pixels, precision) for _ in range(2))
    kind, shot_share = np.empty(num_pixels, np.uint8), np.empty(num_pixels)
    return Firing(pixel, number, kind, before, signal, shot_share, np.empty(TILE + 8, np.int64))


def column_of(num_events: int, exact_times: bool) -> Column:
    """Room for events as they are written."""
    exact = np.empty(num_events if exact_times else 0)
    return Column(np.empty(num_events, np.uint32), np.empty(num_events, np.int64), exact)


def sampling_warnings(model: "PixelModel", step_s: float) -> list[str]:
    """What frames `step_s` apart are too slow for: one sentence each."""
    found = []
    share = white_share(step_s, model.cutoff_hz)
    if share > RESOLVED_SHARE:
        found.append(
            f"cutoff_hz {model.cutoff_hz:g} with frames {step_s * 1e3:.4g} ms apart: a white pixel's low-pass would go "
            f"{share:.2f} of its way per frame (resolved: up to {RESOLVED_SHARE:g}), so edges smear over whole frames; "
            f"bring frames at most {step_s * 1e3 * RESOLVED_SHARE / share:.4g} ms apart"
        )
    if model.shot_noise_rate_hz * step_s > 1 and not model.photoreceptor_noise:
        found.append(
            f"shot_noise_rate_hz {model.shot_noise_rate_hz:g} with frames {step_s * 1e3:.4g} ms apart: a pixel has at "
            "most one noise event per frame, so the rate is not reached"
        )
    return found
