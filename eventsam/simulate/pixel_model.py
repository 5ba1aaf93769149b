"""The event pixel of v2e: luminance frames to events (Hu et al., "v2e: From video frames to realistic DVS events",
CVPRW 2021; noise: Graca et al., "Optimal biasing and physical limits of DVS event noise", 2023).

Photoreceptor: lin-log, then an intensity-dependent one-pole low-pass, its noise, optionally a surround or an adapting
high-pass. Change detector: per-pixel thresholds, leak, shot noise, refractory period; the remainder below the threshold
is kept for the next frame. `PixelStream` runs it; this file says what the sensor is.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.simulate.photoreceptor import lin_log, shot_noise_rate
from eventsam.simulate.pixel_state import Columns, PixelState, check_frames
from eventsam.simulate.pixel_stream import PixelStream, Thresholds

__all__ = ["PixelModel", "PixelState", "PixelStream", "lin_log"]

MIN_THRESHOLD = 0.01
Timestamps = Literal["interpolated", "slots"]
ScidvsStartup = Literal["fixed", "reference"]
_FIRST_FIELDS = 8
"""Fields that catalogs of the first version wrote; the later ones are written only where they are not the default."""


@dataclass(frozen=True)
class PixelModel:
    """Parameters of the sensor; defaults give an ideal sensor with 3 % threshold mismatch.

    Thresholds are in natural-log units: `threshold_sigma` is the spread between pixels, clipped at 0.01 and drawn from
    `seed`. `cutoff_hz` 0 turns the low-pass off, `leak_rate_hz` 0 the leak, `refractory_us` 0 the dead time.
    `timestamps`: "interpolated" places an event where the signal, taken as straight between frames, crosses the
    threshold; "slots" is v2e's rule, which cuts the interval into as many slots as the busiest pixel has events and
    gives every pixel's i-th event the i-th slot. Times are rounded up to whole microseconds and lie in
    (previous frame, this frame]; slots round to the nearest.

    Noise, each off at 0: `leak_jitter_fraction` varies the leak from interval to interval, `noise_rate_cov_decades`
    from pixel to pixel; `shot_noise_rate_hz` is the rate in the dark, falling to a quarter of it at white
    (`expected_shot_rate_hz`). With `photoreceptor_noise` it comes from Gaussian noise on the signal instead.
    `hot_pixel_share` of the pixels fire ON events of their own at `hot_pixel_rate_hz`. `cs_lambda_pixels` subtracts a
    surround of that width (`cs_tau_p_ms`: its time constant; None: at once); `scidvs` amplifies changes.
    `scidvs_startup`: "reference" repeats v2e's burst of OFF events at the second frame.
    """

    on_threshold: float = 0.2
    off_threshold: float = 0.2
    threshold_sigma: float = 0.03
    cutoff_hz: float = 0.0
    leak_rate_hz: float = 0.0
    refractory_us: int = 0
    timestamps: Timestamps = "interpolated"
    seed: int = 0
    leak_jitter_fraction: float = 0.0
    noise_rate_cov_decades: float = 0.0
    shot_noise_rate_hz: float = 0.0
    photoreceptor_noise: bool = False
    hot_pixel_share: float = 0.0
    hot_pixel_rate_hz: float = 0.0
    cs_lambda_pixels: float | None = None
    cs_tau_p_ms: float | None = None
    scidvs: bool = False
    scidvs_startup: ScidvsStartup = "fixed"

    def __post_init__(self) -> None:
        """Refuse impossible sensors."""
        if not min(self.on_threshold, self.off_threshold) >= MIN_THRESHOLD:
            raise ValueError(
                f"thresholds are {self.on_threshold} and {self.off_threshold}, allowed: {MIN_THRESHOLD} and above"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not 0 <= value < float("inf"):
                raise ValueError(f"{field.name} is {value}, allowed: 0 and above")
        for name, kind in (("timestamps", Timestamps), ("scidvs_startup", ScidvsStartup)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"unknown {name} {getattr(self, name)!r} (allowed: {', '.join(get_args(kind))})")
        if self.seed >= 1 << 64:
            raise ValueError(f"seed is {self.seed}, allowed: 0 to 2^64 - 1")
        self._check_noise()

    def _check_noise(self) -> None:
        if self.hot_pixel_share > 1:
            raise ValueError(f"hot_pixel_share is {self.hot_pixel_share}, allowed: 0 to 1")
        if self.photoreceptor_noise and not (self.cutoff_hz > 0 and self.shot_noise_rate_hz > 0):
            raise ValueError("photoreceptor_noise needs a cutoff_hz and a shot_noise_rate_hz above 0")
        if self.cs_lambda_pixels is not None and (self.scidvs or self.cs_lambda_pixels == 0):
            raise ValueError(
                f"cs_lambda_pixels is {self.cs_lambda_pixels}, allowed: above 0 (or None), and not together with scidvs"
            )

    @property
    def nominal_threshold(self) -> float:
        """The mean of both thresholds, for algorithms that know the sensor's data sheet only."""
        return (self.on_threshold + self.off_threshold) / 2

    def expected_shot_rate_hz(self, grey: float) -> float:
        """Shot-noise events per second of a nominal pixel at a grey level: rate * (1 - 0.75 (grey + 20) / 275)."""
        return float(shot_noise_rate(np.array(grey), self.shot_noise_rate_hz))

    def __call__(self, frames: NDArray[Any], t_us: NDArray[np.int64]) -> Events:
        """Return the events of luminance frames (T, H, W), uint8 or float32 in 0..255, taken at `t_us` (T,).

        The first frame only sets the pixels' memory. Raises ValueError for wrong shapes, values or times.
        """
        return self._run(frames, t_us, None)[0]

    def run(
        self, frames: NDArray[Any], t_us: NDArray[np.int64], on: NDArray[np.float32], off: NDArray[np.float32]
    ) -> tuple[Events, PixelState]:
        """Like a call, with the thresholds (H, W) given and the pixels' final memory returned."""
        return self._run(frames, t_us, (on, off))

    def stream(
        self, height: int, width: int, *, thresholds: Thresholds | None = None, exact_times: bool = False
    ) -> PixelStream:
        """Start a sensor that takes frames one by one: the same events as a call, in bounded memory."""
        return PixelStream(self, height, width, thresholds=thresholds, exact_times=exact_times)

    def draw_thresholds(self, height: int, width: int) -> Thresholds:
        """Draw the ON and OFF thresholds of every pixel (H, W) from the seed."""
        generator = np.random.default_rng([self.seed, 0x7D5])
        drawn = []
        for nominal in (self.on_threshold, self.off_threshold):
            values = nominal + self.threshold_sigma * generator.standard_normal((height, width))
            drawn.append(np.maximum(values, MIN_THRESHOLD).astype(np.float32))
        return drawn[0], drawn[1]

    def to_json(self) -> dict[str, Any]:
        """Plain values by name. Fields added later appear only where set, so that hashes of older catalogs stay."""
        fields = dataclasses.fields(self)
        first = {field.name: getattr(self, field.name) for field in fields[:_FIRST_FIELDS]}
        later = {field.name: getattr(self, field.name) for field in fields[_FIRST_FIELDS:]}
        defaults = {field.name: field.default for field in fields}
        return first | {name: value for name, value in later.items() if value != defaults[name]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "PixelModel":
        """Undo `to_json`; raise TypeError for unknown names."""
        return cls(**values)

    def _run(
        self, frames: NDArray[Any], t_us: NDArray[np.int64], thresholds: Thresholds | None
    ) -> tuple[Events, PixelState]:
        height, width = check_frames(frames, t_us)
        stream = self.stream(height, width, thresholds=thresholds)
        pieces: list[Columns] = [stream.columns(image, int(time)) for image, time in zip(frames, t_us, strict=True)]
        x, y, t, p = (np.concatenate([piece[column] for piece in pieces]) for column in range(4))
        return Events(x, y, t, p, height, width), stream.state
