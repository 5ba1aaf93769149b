"""The event pixel against a plain torch implementation of the same model, frame by frame, on the same clips.

The torch model follows the published description step by step, as a user would write it: whole-image operations, one
pass over the image per time slot. v2e itself is not installable from a package index: its rows compare with frames per
second measured once, on the same kind of CPU (AMD EPYC, Zen 5, one thread, idle) and clips of 4.0 k and 22 k events per
frame. They did not run side by side, so they have no goal here: on an idle machine expect 12 (clean) and 15 (noisy).
"""

import logging
import math
from collections.abc import Callable, Iterator, Sized
from functools import partial

import cv2
import numpy as np
import torch

from benchmarks.race import Row, race, speed_row
from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.presets import preset

HEIGHT, WIDTH = 260, 346
TORCH_GOAL = 10.0
SENSORS = ("clean", "noisy")
V2E_FRAMES_PER_S = {
    ("clean", "1000 fps"): 346.0,
    ("noisy", "1000 fps"): 191.0,
    ("clean", "100 fps"): 167.0,
    ("noisy", "100 fps"): 75.0,
}
CLIPS = {"1000 fps": (1_000, 0.14), "100 fps": (10_000, 0.7)}
"""Microseconds between frames, and pixels moved between them."""


def rows(quick: bool) -> Iterator[Row]:
    """Yield frames per second of the sensors `clean` and `noisy` on a slow and a fast clip, against torch."""
    logging.getLogger("eventsam.simulate").setLevel(logging.ERROR)  # the fast clip smears, and is meant to
    num_frames, rounds = (20, 3) if quick else (50, 9)
    for clip_name, (step_us, speed_px) in CLIPS.items():
        frames = moving_texture(num_frames, HEIGHT, WIDTH, speed_px)
        for name in SENSORS:
            model = preset(name)
            stream, plain = model.stream(HEIGHT, WIDTH), TorchSensor(model, HEIGHT, WIDTH)
            ours = Player(stream.frame, frames, step_us)
            theirs = Player(lambda image, t_us, plain=plain: plain.frame(image, t_us / 1e6), frames, step_us)
            seconds = race({"eventsam": ours, "torch": partial(on_one_thread, theirs)}, rounds)
            label = f"simulator {name} {WIDTH}x{HEIGHT} {clip_name} {ours.events_per_frame / 1e3:.1f} k ev/frame"
            yield speed_row(
                f"{label}, torch", seconds["eventsam"], seconds["torch"], TORCH_GOAL, num_frames, "frames/s"
            )
            v2e_s = num_frames / V2E_FRAMES_PER_S[name, clip_name]
            yield speed_row(f"{label}, v2e once", seconds["eventsam"], v2e_s, None, num_frames, "frames/s")


class Player:
    """Shows a clip to a running sensor, forwards and backwards in turn: time goes on, the scene never jumps."""

    def __init__(self, sensor: Callable[[np.ndarray, int], Sized], frames: np.ndarray, step_us: int) -> None:
        """Start the sensor with the first frame: drawing its fixed pattern is not timed."""
        self._sensor, self._frames, self._step_us = sensor, frames, step_us
        self._t_us, self._num_frames, self._num_events = 0, 0, 0
        self._sensor(frames[0], 0)

    def __call__(self) -> None:
        """Play the clip once."""
        for image in self._frames:
            self._t_us += self._step_us
            self._num_events += len(self._sensor(image, self._t_us))
        self._num_frames += len(self._frames)
        self._frames = self._frames[::-1]

    @property
    def events_per_frame(self) -> float:
        """Mean number of events so far."""
        return self._num_events / max(self._num_frames, 1)


def on_one_thread(run: Callable[[], None]) -> None:
    """Run with one torch thread: the fused loop has one, too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run()
    finally:
        torch.set_num_threads(threads)


def moving_texture(num_frames: int, height: int, width: int, speed_px: float) -> np.ndarray:
    """A smooth random texture that slides by `speed_px` per frame: (T, H, W) uint8."""
    generator = np.random.default_rng(0)
    size = (height + 32, width + math.ceil(abs(speed_px) * num_frames) + 32)
    field = sum(cv2.GaussianBlur(generator.standard_normal(size), (0, 0), s) * s for s in (1.5, 3.0, 6.0, 12.0))
    field = 128 + 48 * (field - field.mean()) / field.std()
    frames = np.empty((num_frames, height, width), np.uint8)
    for number in range(num_frames):
        shift = np.array([[1, 0, -number * speed_px], [0, 1, 0]], np.float64)
        frames[number] = np.clip(cv2.warpAffine(field, shift, (width, height)), 0, 255)
    return frames


class TorchSensor:
    """The event pixel as whole-image torch operations: (N, 4) rows of t (s), x, y, p per frame."""

    def __init__(self, model: PixelModel, height: int, width: int) -> None:
        """Draw the fixed pattern from the model's seed."""
        self.model = model
        self.on, self.off = (torch.from_numpy(part) for part in model.draw_thresholds(height, width))
        self.generator = torch.Generator().manual_seed(model.seed)
        spread = model.noise_rate_cov_decades * torch.randn((height, width), generator=self.generator)
        self.leak_factor = 10**spread
        self.last_event = torch.full((height, width), -model.refractory_us / 1e6)
        self.low_passed: torch.Tensor | None = None
        self.t = 0.0

    def frame(self, image: np.ndarray, t: float) -> torch.Tensor:
        """Return the events since the last frame."""
        model, grey = self.model, torch.from_numpy(image).double()
        light = torch.where(grey <= 20, grey * (math.log(20) / 20), torch.log(grey))
        light = (torch.round(light * 1e8) / 1e8).float()
        if self.low_passed is None:
            self.low_passed, self.base, self.t = light, light.clone(), t
            return torch.empty((0, 4))
        step, brightness = t - self.t, (grey + 20) / 275
        if model.cutoff_hz > 0:
            share = (brightness * (step * 2 * math.pi * model.cutoff_hz)).clamp(max=1)
            light = (1 - share) * self.low_passed + share * light
        self.low_passed = light
        if model.leak_rate_hz > 0:
            draws = torch.randn(image.shape, generator=self.generator)
            rate = model.leak_rate_hz * self.leak_factor * (1 - model.leak_jitter_fraction * draws)
            self.base = self.base - step * rate * self.on
        difference = light - self.base
        num_on = torch.div(difference.clamp(min=0), self.on, rounding_mode="floor").int()
        num_off = torch.div((-difference).clamp(min=0), self.off, rounding_mode="floor").int()
        events = self._slots(num_on, num_off, t, step)
        if model.shot_noise_rate_hz > 0:
            events.append(self._shot(light, brightness, t, step))
        self.t = t
        return torch.cat(events) if events else torch.empty((0, 4))

    def _slots(self, num_on: torch.Tensor, num_off: torch.Tensor, t: float, step: float) -> list[torch.Tensor]:
        """The events of every slot; moves the base by those that pass the dead time."""
        num_slots = int(torch.maximum(num_on.max(), num_off.max()))
        if num_slots == 0:
            return []
        dead_s, events = self.model.refractory_us / 1e6, []
        sent_on, sent_off = torch.zeros_like(num_on), torch.zeros_like(num_off)
        times = torch.linspace(self.t + step / num_slots, t, num_slots)
        for slot in range(num_slots):
            on, off = num_on > slot, num_off > slot
            if dead_s > step / num_slots:
                alive = times[slot] - self.last_event > dead_s
                on, off = on & alive, off & alive
                self.last_event = torch.where(on | off, times[slot], self.last_event)
            sent_on, sent_off = sent_on + on, sent_off + off
            found = torch.cat([_rows(on, times[slot], 1), _rows(off, times[slot], -1)])
            events.append(found[torch.randperm(len(found), generator=self.generator)])
        self.base = self.base + sent_on * self.on - sent_off * self.off
        return events

    def _shot(self, light: torch.Tensor, brightness: torch.Tensor, t: float, step: float) -> torch.Tensor:
        chance = self.model.shot_noise_rate_hz / 2 * step * (1 - 0.75 * brightness)
        draw = torch.rand(light.shape, generator=self.generator)
        on = draw > 1 - chance * self.model.on_threshold / self.on
        off = draw < chance * self.model.off_threshold / self.off
        self.base = torch.where(on | off, light.to(self.base.dtype), self.base)
        return torch.cat([_rows(on, torch.tensor(t), 1), _rows(off, torch.tensor(t), -1)])


def _rows(fires: torch.Tensor, t: torch.Tensor, polarity: int) -> torch.Tensor:
    y, x = fires.nonzero(as_tuple=True)
    return torch.stack([t.expand(len(x)), x.float(), y.float(), torch.full((len(x),), float(polarity))], dim=1)
