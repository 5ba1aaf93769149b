"""Bring every image of a sample to one size."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from eventsam.sample import Sample
from eventsam.transforms.transform import COLOUR_KEYS, SPATIAL_KEYS


@dataclass(frozen=True)
class Resize:
    """Resize every image to `height` x `width` pixels.

    Camera images are averaged over area where they shrink (no aliasing) and interpolated bilinearly where they grow.
    Masks, pointmaps and event images take the nearest pixel: a mask stays 0/1, a point stays on a surface and a colour
    that encodes time and polarity is never mixed with another.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"size is {self.height} x {self.width}, allowed: 1 x 1 or more pixels")

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing: each key is resized on its own."""
        return ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the resized sample; draws nothing from `rng`."""
        resized = dict(sample)
        for key in SPATIAL_KEYS:
            if key in sample and sample[key].shape[-2:] != (self.height, self.width):
                resize = resize_colour if key in COLOUR_KEYS else resize_nearest
                resized[key] = resize(sample[key], self.height, self.width)
        return resized


def resize_colour(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize a (3, H, W) uint8 image: mean over area along an axis that shrinks, bilinear along one that grows."""
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
    shrunk = (min(width, image.shape[2]), min(height, image.shape[1]))
    # Two passes, since OpenCV's area mode loses its averaging as soon as one of the axes grows.
    pixels = cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (width, height):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def resize_nearest(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize a (C, H, W) array of any dtype by taking, for each new pixel, the old one that its centre falls into."""
    # Not cv2.INTER_NEAREST: that looks at the new pixel's corner, which shifts the image by up to half an old pixel.
    rows = (2 * np.arange(height) + 1) * image.shape[1] // (2 * height)
    columns = (2 * np.arange(width) + 1) * image.shape[2] // (2 * width)
    return np.ascontiguousarray(image[:, rows[:, None], columns])
