"""What lies behind the object: a panorama at infinity that pans as the camera turns."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eventsam.compiled import compiled
from eventsam.simulate.appearance import value_noise
from eventsam.simulate.palette import random_colour

Float32 = NDArray[np.float32]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Panorama:
    """Colours by direction: (rows, columns, 3) float32 in [0, 1].

    Columns run once around the vertical axis, rows from the zenith down; a 1 x 1 panorama is a flat colour.
    """

    image: Float32


def flat_panorama(generator: np.random.Generator) -> Panorama:
    """Draw one colour of any brightness."""
    colour = random_colour(generator, (0.1, 1.0))
    return Panorama(np.array(colour, np.float32).reshape(1, 1, 3))


def noise_panorama(generator: np.random.Generator, height: int = 64, width: int = 192) -> Panorama:
    """Draw smooth clouds of three colours without a seam."""
    frequency = float(generator.uniform(2.0, 6.0))
    shift = generator.uniform(0, 100, 3)
    image = np.empty((height, width, 3), np.float32)
    colours = np.array([random_colour(generator, (0.1, 1.0)) for _ in range(3)], np.float32)
    _fill_noise(image, colours, frequency, shift)
    return Panorama(image)


def photo_panorama(path: Path, generator: np.random.Generator, height: int = 256) -> Panorama:
    """Wrap a picture around the camera, mirrored so that it has no seam; raise ValueError naming a broken file."""
    try:
        with Image.open(path) as picture:
            width = max(2, round(picture.width * height / picture.height))
            half = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BOX), np.float32) / 255
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: not a readable background picture ({error})") from error
    whole = np.concatenate([half, half[:, ::-1]], axis=1)
    return Panorama(np.ascontiguousarray(np.roll(whole, int(generator.integers(whole.shape[1])), axis=1)))


def list_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder by name; raise ValueError where there are none."""
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not pictures:
        raise ValueError(f"{folder}: holds no background picture (allowed: {', '.join(PICTURE_SUFFIXES)})")
    return pictures


@compiled
def _fill_noise(image: Float32, colours: Float32, frequency: float, shift: NDArray[np.float64]) -> None:
    height, width = image.shape[0], image.shape[1]
    for row in range(height):
        z = (0.5 - (row + 0.5) / height) * np.pi * frequency
        for column in range(width):
            azimuth = 2 * np.pi * column / width
            x, y = np.cos(azimuth) * frequency, np.sin(azimuth) * frequency
            first = value_noise(x + shift[0], y + shift[1], z + shift[2])
            second = value_noise(2.3 * x + shift[1], 2.3 * y + shift[2], 2.3 * z + shift[0])
            first = min(max(0.5 + 2.0 * (first - 0.5), 0.0), 1.0)
            second = min(max(0.5 + 2.0 * (second - 0.5), 0.0), 1.0)
            for channel in range(3):
                mixed = colours[0, channel] + (colours[1, channel] - colours[0, channel]) * first
                image[row, column, channel] = mixed + 0.6 * second * (colours[2, channel] - mixed)


@compiled
def panorama_colour(image: Float32, x: float, y: float, z: float, output: Float32) -> None:
    """Write the colour seen along a direction of the object frame (any length): output (3,)."""
    height, width = image.shape[0], image.shape[1]
    if height == 1 and width == 1:
        for channel in range(3):
            output[channel] = image[0, 0, channel]
        return
    column = (np.arctan2(y, x) / (2 * np.pi) + 1.0) * width
    row = (0.5 - np.arctan2(z, np.sqrt(x * x + y * y)) / np.pi) * height - 0.5
    row = min(max(row, 0.0), height - 1.000001)
    left, top = int(column), int(row)
    right_weight, bottom_weight = column - left, row - top
    x0, x1, below = left % width, (left + 1) % width, min(top + 1, height - 1)
    for channel in range(3):
        upper = image[top, x0, channel] * (1 - right_weight) + image[top, x1, channel] * right_weight
        lower = image[below, x0, channel] * (1 - right_weight) + image[below, x1, channel] * right_weight
        output[channel] = upper * (1 - bottom_weight) + lower * bottom_weight
