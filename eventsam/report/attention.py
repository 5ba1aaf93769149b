"""Attention maps as pictures: what teacher and student see, and where each block of theirs looks."""

import io
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from eventsam.report.canvas import png
from eventsam.report.data import AttentionRow

SIDE = 160
"""Pixels per side of every picture."""
_FADE = 0.65


def attention_pictures(row: AttentionRow) -> dict[str, list[bytes]]:
    """Return PNGs by "teacher" and "student": the image first, then one map per block laid over it.

    The colours of a block run from 0 to the larger of both maxima, so that teacher and student are drawn alike.
    """
    tops = {n: max(float(row.maps[name][n].max()) for name in row.maps) for n in range(len(row.blocks))}
    pictures = {}
    for name in ("teacher", "student"):
        image = _resized(row.images[name].transpose(1, 2, 0), cv2.INTER_NEAREST)
        laid = [png(_laid_over(image, row.maps[name][n] / max(tops[n], 1e-12))) for n in range(len(row.blocks))]
        pictures[name] = [png(image.transpose(2, 0, 1)), *laid]
    return pictures


def attention_sheet(row: AttentionRow) -> bytes:
    """Return one PNG of a sample: teacher above, student below."""
    lines = [np.concatenate([_pixels(one) for one in line], axis=1) for line in attention_pictures(row).values()]
    return png(np.concatenate(lines, axis=0).transpose(2, 0, 1))


def _laid_over(image: NDArray[np.uint8], share: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour a map (h, w) in [0, 1] over a faded image (H, W, 3); returns (3, H, W)."""
    smooth = np.clip(_resized(share.astype(np.float32), cv2.INTER_CUBIC), 0, 1)
    colours = colormaps["inferno"](smooth)[..., :3] * 255
    mixed = (1 - _FADE) * image.mean(axis=-1, keepdims=True) + _FADE * colours
    painted: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8).transpose(2, 0, 1)
    return painted


def _resized(image: NDArray[Any], interpolation: int) -> NDArray[Any]:
    return cv2.resize(  # type: ignore[no-any-return]
        np.ascontiguousarray(image), (SIDE, SIDE), interpolation=interpolation
    )


def _pixels(encoded: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(encoded)))
