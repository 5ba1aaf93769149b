"""Split a sample by spatial frequency: slow content from the camera, fine content from the events."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eventsam.sample import Sample
from eventsam.transforms.transform import COLOUR_KEYS, check_image_key


@dataclass(frozen=True)
class WaveletSplit:
    """Keep low frequencies of camera images and high frequencies of the event image, at a random level.

    An a-trous (undecimated) decomposition: level i smooths with the 3 x 3 binomial kernel (1, 2, 1)/4 per axis, its
    taps 2^i pixels apart (Starck & Murtagh, Astronomical Image and Data Analysis, app. A). With `levels` drawn from
    0 to `max_levels`, low = image smoothed `levels` times and high = image - low. Images of `keys` become low; the
    event image becomes high. 0 levels change nothing.

    High frequencies are signed. A float32 event image keeps them as they are. A uint8 one stores
    clip(background + high, 0, 255): a flat region is exactly `event_background` again, and what does not fit saturates
    and never wraps round. On a black background (0) only the positive half remains, on white (255) only the
    negative one: those are the halves that hold the marks an encoding leaves on that background. 128 keeps both.
    """

    max_levels: int = 3
    keys: tuple[str, ...] = ("rgb_blurry",)
    event_background: int = 0

    def __post_init__(self) -> None:
        for key in self.keys:
            check_image_key(key, COLOUR_KEYS)
        if not 0 <= self.max_levels <= 8:
            raise ValueError(f"max_levels is {self.max_levels}, allowed: 0 to 8 (taps 2^levels pixels apart)")
        if not 0 <= self.event_background <= 255:
            raise ValueError(f"event_background is {self.event_background}, allowed: 0 to 255")

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing: each key is split on its own."""
        return ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the split sample."""
        levels = int(rng.integers(0, self.max_levels + 1))
        split = dict(sample)
        if levels == 0:
            return split
        for key in self.keys:
            if key in sample:
                split[key] = _to_uint8(low_frequencies(sample[key], levels))
        if "event_image" in sample:
            image = sample["event_image"]
            high = image - low_frequencies(image, levels)
            split["event_image"] = _to_uint8(self.event_background + high) if image.dtype == np.uint8 else high
        return split


def low_frequencies(image: NDArray[Any], levels: int) -> NDArray[np.float32]:
    """Return the (C, H, W) image after `levels` a-trous smoothings, float32, mirrored at the border."""
    low = image.astype(np.float32)
    for channel in low:
        for level in range(levels):
            taps = np.zeros(2 * 2**level + 1, dtype=np.float32)
            taps[[0, 2**level, -1]] = 0.25, 0.5, 0.25
            channel[:] = cv2.sepFilter2D(channel, -1, taps, taps, borderType=cv2.BORDER_REFLECT_101)
    return low


def _to_uint8(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
