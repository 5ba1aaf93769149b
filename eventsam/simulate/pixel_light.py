"""From frames to what the change detector sees: tables for the fused loop, or whole images where a stage needs them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventsam.simulate.counter_random import Key
from eventsam.simulate.photoreceptor import Tables, low_pass
from eventsam.simulate.pixel_loops import Light
from eventsam.simulate.pixel_noise import PhotoreceptorNoise
from eventsam.simulate.pixel_surround import AdaptingHighPass, Surround, draw_scidvs_tau

if TYPE_CHECKING:
    from eventsam.simulate.pixel_model import PixelModel

Floats = NDArray[Any]

_ALL_GREYS = np.arange(256, dtype=np.uint8)


class LightPath:
    """The photoreceptors of one sensor and what follows them before the change detector.

    uint8 frames are looked up by grey level inside the fused loop, float32 frames are turned into levels here.
    Surround, adapting high-pass and photoreceptor noise need the whole low-passed image: the loop gets their signal.
    """

    def __init__(
        self,
        model: "PixelModel",
        height: int,
        width: int,
        threshold: float,
        key: Key,
        scidvs_tau_s: NDArray[np.float32] | None,
    ) -> None:
        """`threshold` is the pixels' mean smaller threshold; `scidvs_tau_s` (H, W) replaces drawn time constants."""
        self._model = model
        self._noise: PhotoreceptorNoise | None = None
        if model.photoreceptor_noise:
            rates = model.shot_noise_rate_hz, model.cutoff_hz
            self._noise = PhotoreceptorNoise(height * width, threshold, *rates, key)
        self._shaper: Surround | AdaptingHighPass | None = None
        if model.cs_lambda_pixels is not None:
            self._shaper = Surround(height, width, model.cs_lambda_pixels, model.cs_tau_p_ms)
        if model.scidvs:
            tau_s = draw_scidvs_tau(model.seed, height * width) if scidvs_tau_s is None else scidvs_tau_s.ravel()
            self._shaper = AdaptingHighPass(tau_s, model.scidvs_startup == "reference")
        self._shot_rate_hz = 0.0 if model.photoreceptor_noise else model.shot_noise_rate_hz
        self._tables_step_s = -1.0

    @property
    def whole_image(self) -> bool:
        """Whether the loop over tiles gets a finished signal instead of grey levels."""
        return self._noise is not None or self._shaper is not None

    def start(self, grey: NDArray[Any]) -> Floats:
        """Take the first frame (N,); return the level (N,) that the change detector starts from."""
        level = self._tables(grey, 0.0).levels
        by_grey = grey.dtype == np.uint8 and not self.whole_image
        signal = level if self._shaper is None else self._shaper(level, 0.0)
        self._image = grey if by_grey else None
        self._levels = self._tables(_ALL_GREYS, 0.0).levels if by_grey else signal
        self._level = level
        self.low_passed = level.copy() if self._model.cutoff_hz > 0 else level[:0].astype(np.float64)
        late = self._model.scidvs and self._model.scidvs_startup == "reference"
        return level if late else signal

    def advance(self, grey: NDArray[Any], step_s: float, frame: int) -> Light:
        """Take a frame (N,), `step_s` after the last; return it beside the last for the loop."""
        before_image, before_levels = self._image, self._levels
        image = None
        if grey.dtype != np.uint8:
            tables = self._tables(grey, step_s)
        else:
            tables, image = self._grey_tables(step_s), grey
        if self.whole_image:
            if image is not None:
                tables, image = tables.of_pixels(image), None
            tables = Tables(self._signal(tables, step_s, frame), tables.shares[:0], tables.chances)
        elif image is None:
            self._level = tables.levels
        self._image, self._levels = image, tables.levels
        return Light(image, tables.levels, tables.shares, tables.chances, before_image, before_levels)

    def level(self) -> Floats:
        """The low-passed log intensity (N,) now."""
        if self._model.cutoff_hz > 0:
            return self.low_passed
        by_pixel: Floats = self._level if self._image is None else self._levels[self._image]
        return by_pixel

    def _tables(self, grey: NDArray[Any], step_s: float) -> Tables:
        return Tables.of(grey, step_s, self._model.cutoff_hz, self._shot_rate_hz)

    def _grey_tables(self, step_s: float) -> Tables:
        """The tables of all grey levels, kept while frames come evenly."""
        if step_s != self._tables_step_s:
            self._tables_kept, self._tables_step_s = self._tables(_ALL_GREYS, step_s), step_s
        return self._tables_kept

    def _signal(self, tables: Tables, step_s: float, frame: int) -> Floats:
        """The signal (N,) after the stages that look at the whole image."""
        self._level = tables.levels
        if self._model.cutoff_hz > 0:
            low_pass(self.low_passed, tables.levels, tables.shares)
            self._level = self.low_passed
        signal = self._level if self._shaper is None else self._shaper(self._level, step_s)
        return signal.copy() if self._noise is None else signal + self._noise(step_s, frame)
