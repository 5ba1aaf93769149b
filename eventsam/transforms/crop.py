"""Cut a sample's images together: around the object, or at random with most of the object kept."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.sample import Sample
from eventsam.transforms.resize import Resize
from eventsam.transforms.transform import (
    MASK_KEYS,
    SPATIAL_KEYS,
    blank_of,
    check_image_key,
    check_share,
    image_size,
    name_of,
    require,
)


@dataclass(frozen=True)
class ObjectCrop:
    """Cut a square around the object's mask, `scale` times as long as the longer side of its bounding box.

    The box runs from the first to the last non-zero pixel of `key`, both included; the square shares its centre and has
    side int(max(height, width, 2) * scale) (the convention of SAM 3D Objects' image preprocessor). Where the square
    leaves the image, images and masks are filled with zero, a pointmap with NaN and an event image with
    `event_background` (255 for an encoding on white). Raises KeyError for a sample without `key` and ValueError for a
    mask without a pixel.
    """

    scale: float = 1.2
    key: str = "mask"
    event_background: float = 0.0

    def __post_init__(self) -> None:
        check_image_key(self.key, MASK_KEYS)
        if not self.scale > 0:
            raise ValueError(f"scale is {self.scale}, allowed: above 0")

    @property
    def needs(self) -> tuple[str, ...]:
        """The mask that the square is drawn around."""
        return (self.key,)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with every image cut to the square; draws nothing from `rng`."""
        mask = require(sample, self.key, "ObjectCrop")
        image_size(sample)
        top, left, side = square_around(mask, self.scale, f"{name_of(sample)}: {self.key}")
        cropped = dict(sample)
        for key in SPATIAL_KEYS:
            if key in sample:
                cropped[key] = cut(sample[key], top, left, side, side, blank_of(key, self.event_background))
        return cropped


@dataclass(frozen=True)
class RandomCrop:
    """Cut a random part of the image and bring it back to the image's size.

    The cut's shorter side is `size` pixels and it has the image's aspect ratio, so that rescaling does not stretch the
    object. Its place is drawn uniformly from all that keep at least `min_mask_share` of the pixels of `key`; a sample
    without that key may be cut anywhere, and one where no place keeps enough is returned whole. Raises ValueError
    where the image is smaller than `size` or the mask has no pixel.
    """

    size: int
    min_mask_share: float = 0.4
    probability: float = 1.0
    key: str = "mask"

    def __post_init__(self) -> None:
        check_image_key(self.key, MASK_KEYS)
        check_share("min_mask_share", self.min_mask_share)
        check_share("probability", self.probability)
        if self.size < 1:
            raise ValueError(f"size is {self.size}, allowed: 1 or more pixels")

    @property
    def needs(self) -> tuple[str, ...]:
        """The mask that must stay in view."""
        return (self.key,)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample cut and rescaled, or a shallow copy."""
        happens, place = rng.random() < self.probability, rng.random()
        full = image_size(sample)
        if not happens or full is None:
            return dict(sample)
        if min(full) < self.size:
            raise ValueError(f"{name_of(sample)}: image {full[0]} x {full[1]} is smaller than the crop of {self.size}")
        height, width = (round(side * self.size / min(full)) for side in full)
        corner = self._corner(sample, full, height, width, place)
        if corner is None:
            return dict(sample)
        cropped = dict(sample)
        for key in SPATIAL_KEYS:
            if key in sample:
                cropped[key] = cut(sample[key], *corner, height, width, 0.0)
        return Resize(*full)(cropped, rng)

    def _corner(
        self, sample: Sample, full: tuple[int, int], height: int, width: int, place: float
    ) -> tuple[int, int] | None:
        """Return the `place`-th (0 to 1) allowed top-left corner, None if there is none."""
        allowed = np.ones((full[0] - height + 1, full[1] - width + 1), dtype=bool)
        if self.key in sample:
            kept = window_sums(sample[self.key][0] > 0, height, width)
            total = int(np.count_nonzero(sample[self.key]))
            if total == 0:
                raise ValueError(f"{name_of(sample)}: {self.key} is empty, there is no object to keep in the crop")
            allowed = kept >= self.min_mask_share * total - 1e-9
        corners = np.flatnonzero(allowed)
        if len(corners) == 0:
            return None
        top, left = divmod(int(corners[int(place * len(corners))]), allowed.shape[1])
        return top, left


def square_around(mask: NDArray[np.uint8], scale: float, source: str) -> tuple[int, int, int]:
    """Return (top, left, side) in pixels of the square around a (1, H, W) mask; ValueError naming `source` if empty."""
    rows = np.flatnonzero(mask[0].any(axis=1))
    columns = np.flatnonzero(mask[0].any(axis=0))
    if len(rows) == 0:
        raise ValueError(f"{source} is empty (no pixel above 0 in {mask.shape[1]} x {mask.shape[2]}), no object to cut")
    extent = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    side = max(1, int(max(extent, 2) * scale))
    # Twice the centre stays an integer, so that the same mask one pixel further gives the same square one further.
    top = (int(rows[0] + rows[-1]) + 1 - side) // 2
    left = (int(columns[0] + columns[-1]) + 1 - side) // 2
    return top, left, side


def cut(image: NDArray[Any], top: int, left: int, height: int, width: int, fill: float) -> NDArray[Any]:
    """Return a copy of the box of a (C, H, W) image; parts outside the image hold `fill`."""
    rows = slice(max(top, 0), max(0, min(top + height, image.shape[1])))
    columns = slice(max(left, 0), max(0, min(left + width, image.shape[2])))
    box = np.full((image.shape[0], height, width), fill, dtype=image.dtype)
    inside = image[:, rows, columns]
    row, column = rows.start - top, columns.start - left
    box[:, row : row + inside.shape[1], column : column + inside.shape[2]] = inside
    return box


def window_sums(filled: NDArray[np.bool_], height: int, width: int) -> NDArray[np.int64]:
    """Return the count of True in every height x width window of an (H, W) array, by an integral image."""
    sums = np.zeros((filled.shape[0] + 1, filled.shape[1] + 1), dtype=np.int64)
    np.cumsum(np.cumsum(filled, axis=0, dtype=np.int64), axis=1, out=sums[1:, 1:])
    windows: NDArray[np.int64] = (
        sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    )
    return windows
