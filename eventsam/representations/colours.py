"""Signed sums as colours for people: red where brighter, blue where darker, white where nothing happened."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def signed_rgb(total: NDArray[Any]) -> NDArray[np.uint8]:
    """Return signed (H, W) values as uint8 (3, H, W), scaled to the largest magnitude: + red, - blue, 0 white."""
    total = total.astype(np.float64)
    peak = np.abs(total).max(initial=0.0)
    share = np.rint(np.abs(total) / peak * 255 if peak > 0 else np.zeros_like(total)).astype(np.uint8)
    red, blue = np.where(total < 0, 255 - share, 255), np.where(total > 0, 255 - share, 255)
    return np.stack([red, 255 - share, blue]).astype(np.uint8)
