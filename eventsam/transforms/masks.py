"""Make masks as imprecise as a segmenter's: grown, shrunk, or taken from the blurry frame."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from eventsam.sample import Sample
from eventsam.transforms.transform import MASK_KEYS, check_image_key, check_share, require


@dataclass(frozen=True)
class MaskJitter:
    """Grow or shrink the mask `key` by 1 to `max_pixels` pixels, equally likely, with the given probability.

    Shrinking stops at the last pixel count that leaves something: a mask is never emptied. A sample without `key`
    passes unchanged.
    """

    max_pixels: int = 3
    probability: float = 0.5
    key: str = "mask"

    def __post_init__(self) -> None:
        check_image_key(self.key, MASK_KEYS)
        check_share("probability", self.probability)
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels is {self.max_pixels}, allowed: 1 or more")

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing: a sample without the mask passes."""
        return ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with the mask grown or shrunk, or a shallow copy."""
        happens, grows = rng.random() < self.probability, rng.random() < 0.5
        num_pixels = int(rng.integers(1, self.max_pixels + 1))
        jittered = dict(sample)
        if happens and self.key in sample:
            change = grow if grows else shrink
            jittered[self.key] = change(sample[self.key], num_pixels)
        return jittered


@dataclass(frozen=True)
class RandomMaskSource:
    """Put the other of `mask` and `mask_blurry` in place of `into` with the given probability.

    What is trained on both learns to take a mask as a hint and to read the outline from the image. Both keys are kept,
    so later transforms find what they expect. An empty mask is not used. Raises KeyError where a sample holds one of
    the two alone: passing it would quietly train without the augmentation.
    """

    probability: float = 0.5
    into: str = "mask"

    def __post_init__(self) -> None:
        check_share("probability", self.probability)
        check_image_key(self.into, MASK_KEYS)

    @property
    def needs(self) -> tuple[str, ...]:
        """The mask to take instead."""
        return tuple(key for key in MASK_KEYS if key != self.into)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with the drawn mask, or a shallow copy."""
        happens = rng.random() < self.probability
        swapped = dict(sample)
        if self.into in sample:
            other = require(sample, self.needs[0], "RandomMaskSource")
            if happens and other.any():
                swapped[self.into] = other.copy()
        return swapped


def grow(mask: NDArray[np.uint8], num_pixels: int) -> NDArray[np.uint8]:
    """Return a (1, H, W) mask dilated by a disc of radius `num_pixels`."""
    dilated: NDArray[np.uint8] = cv2.dilate(mask[0], _disc(num_pixels))
    return dilated[None]


def shrink(mask: NDArray[np.uint8], num_pixels: int) -> NDArray[np.uint8]:
    """Return a (1, H, W) mask eroded by the largest disc, radius `num_pixels` or less, that leaves a pixel."""
    for radius in range(num_pixels, 0, -1):
        # Pixels beyond the image count as object, so that an object cut by the image's edge does not shrink from there.
        eroded: NDArray[np.uint8] = cv2.erode(mask[0], _disc(radius))
        if eroded.any():
            return eroded[None]
    return mask.copy()


def _disc(radius: int) -> NDArray[np.uint8]:
    offsets = np.arange(-radius, radius + 1)
    # (radius + 1/2)^2 in integers: a disc of pixels without single-pixel tips
    return (offsets[:, None] ** 2 + offsets**2 <= radius * (radius + 1)).astype(np.uint8)
