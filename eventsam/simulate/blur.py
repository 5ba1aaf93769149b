"""Motion blur as the mean of consecutive sharp frames."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

BLUR_LEVELS: Mapping[str, int] = {"easy": 10, "medium": 20, "hard": 40}
"""Number of sharp frames that one blurry frame averages."""

OUTLINED_SHARE = 0.25
"""A pixel belongs to the blurry object where it is covered for at least this share of the exposure."""


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
