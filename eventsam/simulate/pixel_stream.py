"""A running event sensor: frames in one by one, events out, memory bounded by the sensor's size."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.simulate.counter_random import key_of
from eventsam.simulate.photoreceptor import RESOLVED_SHARE, Tables, low_pass, white_share
from eventsam.simulate.pixel_loops import Light, Noise, interval_events
from eventsam.simulate.pixel_noise import HotPixels, PhotoreceptorNoise, draw_leak_rates, leak_jitter
from eventsam.simulate.pixel_state import Columns, PixelState, check_image
from eventsam.simulate.pixel_surround import AdaptingHighPass, Surround, draw_scidvs_tau
from eventsam.simulate.pixel_timing import Clock, Firing, Pixels

if TYPE_CHECKING:
    from eventsam.simulate.pixel_model import PixelModel

Floats = NDArray[Any]
Thresholds = tuple[NDArray[np.float32], NDArray[np.float32]]

log = logging.getLogger(__name__)

_ALL_GREYS = np.arange(256, dtype=np.uint8)


class PixelStream:
    """One sensor in operation. The events of a frame depend on the frames so far, never on threads or on chunks.

    `frame` and `frame_at` return the events of the interval since the frame before, ordered by (t, y, x); the first
    frame only sets the pixels' memory. Frames are (H, W) uint8, or float32 in 0..255; the first decides which: later
    uint8 frames of a float32 stream are converted. With `exact_times`, `exact_s` holds the times of the last returned
    events in seconds, before they were rounded to whole microseconds.
    """

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
        """Draw the sensor's fixed pattern from the model's seed, unless `thresholds` (H, W) or time constants are given."""
        self.model, self.height, self.width = model, height, width
        on, off = thresholds or model.draw_thresholds(height, width)
        self._on, self._off = (np.ascontiguousarray(part, dtype=np.float32).ravel() for part in (on, off))
        if len(self._on) != height * width or len(self._off) != height * width:
            raise ValueError(f"thresholds are {on.shape} and {off.shape}, expected ({height}, {width})")
        self._precision = np.float64 if model.cutoff_hz > 0 else np.float32
        self._key = key_of(model.seed)
        self._exact_times = exact_times
        self.exact_s: NDArray[np.float64] = np.empty(0)
        self._frame_number = 0
        self._is_uint8 = True
        self._tables_step_s = -1.0
        self._warned = False
        self._build_parts(scidvs_tau_s)

    def _build_parts(self, scidvs_tau_s: NDArray[np.float32] | None) -> None:
        """Build the parts that the model asks for."""
        model, num_pixels = self.model, self.height * self.width
        self._jitter = np.empty(0, np.float32)
        if model.leak_rate_hz > 0 and (model.leak_jitter_fraction > 0 or model.noise_rate_cov_decades > 0):
            self._jitter = leak_jitter(model.leak_jitter_fraction)
        self._hot: HotPixels | None = None
        if model.hot_pixel_share > 0 and model.hot_pixel_rate_hz > 0:
            self._hot = HotPixels(model.seed, num_pixels, model.hot_pixel_share, model.hot_pixel_rate_hz, self._key)
        self._noise: PhotoreceptorNoise | None = None
        if model.photoreceptor_noise:
            smaller = float(np.minimum(self._on, self._off).mean())
            self._noise = PhotoreceptorNoise(num_pixels, smaller, model.shot_noise_rate_hz, model.cutoff_hz, self._key)
        self._after: Surround | AdaptingHighPass | None = None
        if model.cs_lambda_pixels is not None:
            self._after = Surround(self.height, self.width, model.cs_lambda_pixels, model.cs_tau_p_ms)
        if model.scidvs:
            tau_s = draw_scidvs_tau(model.seed, num_pixels) if scidvs_tau_s is None else scidvs_tau_s.ravel()
            self._after = AdaptingHighPass(tau_s, model.scidvs_startup == "reference")
        self._whole_image = self._noise is not None or self._after is not None

    def frame(self, image: NDArray[Any], t_us: int) -> Events:
        """Take the frame of time `t_us` and return the events in (previous frame, this frame].

        Raises ValueError for a frame of another size or dtype, values outside 0..255 or a time that does not rise.
        """
        return self._events(self.columns(image, t_us))

    def frame_at(self, image: NDArray[Any], seconds: float) -> Events:
        """Like `frame`, at a time that need not be a whole us; events keep whole us, intervals their exact length."""
        return self._events(self.columns(image, round(seconds * 1e6), seconds))

    @property
    def state(self) -> PixelState:
        """The pixels' memory now; raise ValueError before the first frame."""
        if self._frame_number == 0:
            raise ValueError("the stream has seen no frame yet")
        size = (self.height, self.width)
        return PixelState(self._low_passed_now().reshape(size).copy(), self._pixels.base.reshape(size).copy())

    def columns(self, image: NDArray[Any], t_us: int, seconds: float | None = None) -> Columns:
        """What `frame` returns, as bare x, y, t, p."""
        grey = self._checked(image)
        if self._frame_number == 0:
            self._start(grey, t_us, seconds)
            return np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.int64), np.empty(0, np.uint8)
        if t_us <= self._t_us:
            raise ValueError(f"frame {self._frame_number} is at {t_us} us, not after the last one at {self._t_us} us")
        clock = self._clock(t_us, seconds)
        light = self._light(grey, clock.step_s)
        *columns, exact = interval_events(
            self._pixels, light, self._noise_of(clock), clock, self._firing, self._exact_times
        )
        if self._exact_times:
            self.exact_s = self._origin_s + clock.start_s + exact * 1e-6
        self._previous_image, self._previous_levels = light.image, light.levels
        self._t_us, self._end_s = t_us, clock.start_s + clock.step_s
        self._frame_number += 1
        x, y, t, p = columns
        return x, y, t, p

    def _low_passed_now(self) -> Floats:
        if self.model.cutoff_hz > 0:
            return self._own_low_passed
        if self._previous_image is not None:
            by_pixel: Floats = self._previous_levels[self._previous_image]
            return by_pixel
        return self._last_level

    def _events(self, columns: Columns) -> Events:
        return Events(*columns, self.height, self.width)

    def _checked(self, image: NDArray[Any]) -> NDArray[Any]:
        check_image(image, self.height, self.width, self._frame_number)
        if self._frame_number == 0:
            self._is_uint8 = image.dtype == np.uint8
        elif self._is_uint8 and image.dtype != np.uint8:
            raise ValueError(f"frame {self._frame_number} is {image.dtype} in a stream that began with uint8")
        # A copy: the caller may write the next frame into the same buffer.
        flat: NDArray[Any] = image.astype(np.uint8 if self._is_uint8 else np.float32).ravel()
        return flat

    def _start(self, grey: NDArray[Any], t_us: int, seconds: float | None) -> None:
        model = self.model
        self._t_us = t_us
        self._origin_s = t_us / 1e6 if seconds is None else seconds
        self._origin_us, self._end_s = t_us, 0.0
        level = Tables.of(grey, 0.0, model.cutoff_hz, 0.0).levels
        signal = level if self._after is None else self._after(level, 0.0)
        base = level if model.scidvs and model.scidvs_startup == "reference" else signal
        low_passed = level if model.cutoff_hz > 0 else level[:0]
        leaks = model.leak_rate_hz > 0
        num = len(grey)
        rates = draw_leak_rates(model.seed, num, model.leak_rate_hz, model.noise_rate_cov_decades)
        if len(self._jitter):
            rates = np.broadcast_to(rates, num).copy()
        last = np.full(num if model.refractory_us > 0 else 0, -np.inf)
        self._own_low_passed = low_passed.copy()
        # Where later stages need the whole low-passed image, the loop over tiles gets their signal instead.
        inside = self._own_low_passed[:0] if self._whole_image else self._own_low_passed
        self._pixels = Pixels(
            base.copy(), inside.astype(np.float64, copy=False), self._on, self._off, rates if leaks else rates[:0], last
        )
        room = [np.empty(num, kind) for kind in (np.int64, np.int64, np.uint8, self._precision, self._precision)]
        self._firing = Firing(*room)
        self._last_level = level
        by_grey = self._is_uint8 and not self._whole_image
        self._previous_image = grey if by_grey else None
        self._previous_levels = Tables.of(_ALL_GREYS, 0.0, model.cutoff_hz, 0.0).levels if by_grey else signal
        self._frame_number = 1

    def _clock(self, t_us: int, seconds: float | None) -> Clock:
        model = self.model
        whole = t_us - self._t_us
        if seconds is None:
            step_s, step_us = whole * 1e-6, float(whole)
        else:
            step_s = (seconds - self._origin_s) - self._end_s
            step_us = step_s * 1e6
        start_us = self._t_us - self._origin_us
        lead_us = 0.0 if seconds is None else (self._origin_s + self._end_s) * 1e6 - self._t_us
        self._warn_once(step_s)
        return Clock(
            start_us=np.int64(self._t_us),
            whole_step=np.int64(whole),
            lead_us=lead_us,
            origin_us=start_us + lead_us,
            step_us=step_us,
            start_s=self._end_s,
            step_s=step_s,
            refractory_us=float(model.refractory_us),
            slots=model.timestamps == "slots",
            width=self.width,
        )

    def _light(self, grey: NDArray[Any], step_s: float) -> Light:
        model = self.model
        shot = 0.0 if model.photoreceptor_noise else model.shot_noise_rate_hz
        if not self._is_uint8:
            tables, image = Tables.of(grey, step_s, model.cutoff_hz, shot), None
        else:
            if step_s != self._tables_step_s:
                self._tables = Tables.of(_ALL_GREYS, step_s, model.cutoff_hz, shot)
                self._tables_step_s = step_s
            tables, image = self._tables, grey
        if self._whole_image:
            if image is not None:
                tables, image = Tables(*(part[image] if len(part) else part for part in vars(tables).values())), None
            tables = Tables(self._signal(tables, step_s), tables.shares[:0], tables.chances)
        elif image is None:
            self._last_level = tables.levels
        return Light(image, tables.levels, tables.shares, tables.chances, self._previous_image, self._previous_levels)

    def _signal(self, tables: Tables, step_s: float) -> Floats:
        """The signal (N,) of the stages that look at the whole image."""
        if self.model.cutoff_hz > 0:
            low_pass(self._own_low_passed, tables.levels, tables.shares)
            self._last_level = self._own_low_passed
        else:
            self._last_level = tables.levels
        signal = self._last_level
        if self._after is not None:
            signal = self._after(signal, step_s)
        if self._noise is not None:
            signal = signal + self._noise(step_s, self._frame_number)
        return signal.copy()

    def _noise_of(self, clock: Clock) -> Noise:
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
            frame=np.uint64(self._frame_number),
        )

    def _warn_once(self, step_s: float) -> None:
        """Say once where the frames come too slowly for what the sensor is asked to do."""
        model = self.model
        if self._warned:
            return
        share = white_share(step_s, model.cutoff_hz)
        if share > RESOLVED_SHARE:
            self._warned = True
            log.warning(
                "cutoff_hz %g with frames %.4g ms apart: white pixels go %.2f time constants per frame (resolved: %g or "
                "less), so the low-pass smears edges over whole frames; bring frames at most %.4g ms apart",
                model.cutoff_hz, step_s * 1e3, share, RESOLVED_SHARE, step_s * 1e3 * RESOLVED_SHARE / share,
            )  # fmt: skip
        if model.shot_noise_rate_hz * step_s > 1 and not model.photoreceptor_noise:
            self._warned = True
            log.warning(
                "shot_noise_rate_hz %g with frames %.4g ms apart: at most one noise event per frame and polarity exists",
                model.shot_noise_rate_hz, step_s * 1e3,
            )  # fmt: skip
