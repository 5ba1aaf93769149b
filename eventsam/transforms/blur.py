"""Blur camera images: Gaussian, and linear motion in a random direction."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from eventsam.sample import Sample
from eventsam.transforms.transform import COLOUR_KEYS, check_image_key, check_share


@dataclass(frozen=True)
class GaussianBlur:
    """Blur the image `key` with a Gaussian whose kernel side is an odd number of pixels, drawn from the given range.

    The standard deviation follows the side by OpenCV's rule, 0.3 * ((side - 1) / 2 - 1) + 0.8. Sharp and blurry
    image are different keys, so blurring one leaves the target alone. A sample without `key` passes unchanged.
    """

    probability: float = 0.5
    min_kernel: int = 5
    max_kernel: int = 15
    key: str = "rgb_blurry"

    def __post_init__(self) -> None:
        _check(self.probability, self.min_kernel, self.max_kernel, self.key)

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing: a sample without the image passes."""
        return ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with the image blurred, or a shallow copy."""
        happens, side = rng.random() < self.probability, odd_between(self.min_kernel, self.max_kernel, rng.random())
        blurred = dict(sample)
        if happens and self.key in sample:
            pixels = cv2.GaussianBlur(_channels_last(sample[self.key]), (side, side), 0)
            blurred[self.key] = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return blurred


@dataclass(frozen=True)
class MotionBlur:
    """Smear the image `key` along a straight line: odd length in pixels from the given range, direction uniform.

    A stand-in for camera shake on top of the real blur. A sample without `key` passes unchanged.
    """

    probability: float = 0.5
    min_kernel: int = 5
    max_kernel: int = 15
    key: str = "rgb_blurry"

    def __post_init__(self) -> None:
        _check(self.probability, self.min_kernel, self.max_kernel, self.key)

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing: a sample without the image passes."""
        return ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with the image smeared, or a shallow copy."""
        happens, side = rng.random() < self.probability, odd_between(self.min_kernel, self.max_kernel, rng.random())
        kernel = line_kernel(side, rng.random() * math.pi)
        smeared = dict(sample)
        if happens and self.key in sample:
            pixels = cv2.filter2D(_channels_last(sample[self.key]), -1, kernel, borderType=cv2.BORDER_REPLICATE)
            smeared[self.key] = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return smeared


def odd_between(smallest: int, largest: int, place: float) -> int:
    """Return the odd number at `place` (0 to 1, 1 excluded) among those in [smallest, largest], both odd."""
    return smallest + 2 * int(place * ((largest - smallest) // 2 + 1))


def line_kernel(side: int, angle: float) -> NDArray[np.float32]:
    """Return a (side, side) kernel of sum 1: a line through the centre at `angle` radians, ends on the rim's circle."""
    kernel = np.zeros((side, side))
    radius = (side - 1) / 2
    # Eight points per pixel, each shared among its four neighbours, draw the line without steps.
    along = np.linspace(-radius, radius, 8 * side + 1)
    x, y = radius + along * math.cos(angle), radius - along * math.sin(angle)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = np.abs(1 - row - (y - top)) * np.abs(1 - column - (x - left))
        inside = (top + row >= 0) & (left + column >= 0) & (top + row < side) & (left + column < side)
        np.add.at(kernel, (top[inside] + row, left[inside] + column), weight[inside])
    normalised: NDArray[np.float32] = (kernel / kernel.sum()).astype(np.float32)
    return normalised


def _channels_last(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def _check(probability: float, smallest: int, largest: int, key: str) -> None:
    check_share("probability", probability)
    check_image_key(key, COLOUR_KEYS)
    # A kernel of even side has no centre pixel: it would shift the image, and OpenCV refuses it.
    if smallest < 1 or largest < smallest or smallest % 2 == 0 or largest % 2 == 0:
        raise ValueError(f"kernel sides are {smallest} to {largest}, allowed: odd numbers, the smaller first")
