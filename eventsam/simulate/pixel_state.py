"""What a sensor simulation takes and leaves: checked frames in, the pixels' memory out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64], NDArray[np.uint8]]
"""x, y, t (us) and p of events."""


@dataclass(frozen=True)
class PixelState:
    """The memory of every pixel after a recording: low-passed log intensity and the level of its last event."""

    low_passed: NDArray[Any]
    base: NDArray[Any]


def check_image(image: NDArray[Any], height: int, width: int, number: int) -> None:
    """Raise ValueError where an image is not a luminance frame (height, width) of uint8, or of float32 in 0..255."""
    if image.shape != (height, width) or image.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"frame {number} is {image.shape} {image.dtype}, expected ({height}, {width}) uint8 or float32"
        )
    if image.dtype == np.float32:
        low, high = float(image.min()), float(image.max())  # NaN fails both comparisons
        if not (low >= 0 and high <= 255):
            raise ValueError(f"frame {number} runs from {low} to {high}: luminance frames must lie in 0..255")


def check_frames(frames: NDArray[Any], t_us: NDArray[np.int64]) -> tuple[int, int]:
    """Return height and width of (T, H, W); raise ValueError for a wrong shape, dtype, value or time."""
    if frames.ndim != 3 or frames.dtype not in (np.uint8, np.float32):
        raise ValueError(f"frames are (T, H, W) uint8 or float32, got {frames.shape} {frames.dtype}")
    if t_us.shape != (len(frames),) or t_us.dtype != np.int64:
        raise ValueError(f"t_us is int64 of shape ({len(frames)},), got {t_us.shape} {t_us.dtype}")
    if len(t_us) == 0 or (np.diff(t_us) <= 0).any():
        raise ValueError("frame times must exist and rise")
    return int(frames.shape[1]), int(frames.shape[2])
