"""Motion blur as the mean of consecutive sharp frames."""

import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

BLUR_LEVELS: Mapping[str, int] = {"easy": 10, "medium": 20, "hard": 40}
"""Number of sharp frames that one blurry frame averages."""

_EXPOSURE = re.compile(r"(\d+(?:\.\d+)?)ms")

OUTLINED_SHARE = 0.25
"""A pixel belongs to the blurry object where it is covered for at least this share of the exposure."""


def num_blurred_frames(level: str, frame_interval_us: int) -> int:
    """Return how many frames a level averages: one of `BLUR_LEVELS`, or an exposure time such as "25ms".

    Raises ValueError for another name, and for an exposure that is not a whole number of frames, at least one.
    """
    if level in BLUR_LEVELS:
        return BLUR_LEVELS[level]
    written = _EXPOSURE.fullmatch(level)
    if written is None:
        raise ValueError(f"unknown blur level {level!r} (allowed: {', '.join(BLUR_LEVELS)}, or a time such as '25ms')")
    num_frames = float(written[1]) * 1000 / frame_interval_us
    if num_frames < 1 or num_frames != round(num_frames):
        raise ValueError(
            f"an exposure of {level} is {num_frames:g} frames of {frame_interval_us} us, allowed: 1, 2, ..."
        )
    return round(num_frames)


def exposure_level(milliseconds: float) -> str:
    """Return the name of the level of an exposure time."""
    return f"{milliseconds:g}ms"


def exposure_frames(frame: int, num_blurred: int, num_frames: int) -> tuple[int, int]:
    """Half-open frame range of an exposure centred on `frame`: [frame - n // 2, frame - n // 2 + n).

    The exposure lasts from the time of its first frame to the time of the frame after its last, so both must exist.
    Raises ValueError where the path is too short.
    """
    first = frame - num_blurred // 2
    last = first + num_blurred
    if first < 0 or last > num_frames - 1:
        raise ValueError(
            f"an exposure of {num_blurred} frames around frame {frame} needs frames {first} to {last}, "
            f"the path has 0 to {num_frames - 1}"
        )
    return first, last


def blurred_image(image: NDArray[np.float32], first: int, last: int) -> NDArray[np.float32]:
    """Mean of the frames [first, last) of (T, H, W, 3)."""
    mean: NDArray[np.float32] = image[first:last].mean(axis=0, dtype=np.float32)
    return mean


def blurred_mask(mask: NDArray[np.uint8], first: int, last: int) -> NDArray[np.uint8]:
    """What a segmenter would outline in the blurry frame: pixels covered for `OUTLINED_SHARE` of the exposure.

    `mask` is (T, 1, H, W) of 0 and 1; returns (1, H, W). Where a small fast object covers no pixel that long, the
    pixels covered longest are taken, so that the mask is never empty while the object is seen.
    """
    covered = mask[first:last].sum(axis=0, dtype=np.int64)
    needed = min(math.ceil(OUTLINED_SHARE * (last - first)), int(covered.max()))
    outlined: NDArray[np.uint8] = ((covered >= needed) & (covered > 0)).astype(np.uint8)
    return outlined
