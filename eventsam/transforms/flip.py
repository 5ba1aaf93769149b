"""Mirror a sample left to right: images, points, occupancy and pose together."""

from dataclasses import dataclass

import numpy as np

from eventsam.sample import Sample
from eventsam.transforms.transform import SPATIAL_KEYS, check_share

_MIRROR = np.array([-1.0, 1.0, 1.0, 1.0], dtype=np.float32)


@dataclass(frozen=True)
class HorizontalFlip:
    """Show the mirror image of the object with the given probability.

    Images are mirrored along W; a pointmap also has its x negated, since the mirrored camera sees mirrored points. The
    object itself becomes its mirror image: occupancy is mirrored along x, and pose becomes F pose F with
    F = diag(-1, 1, 1, 1). That keeps `pose` a rotation and a translation, and p_cam = pose @ p_obj true for every
    mirrored point. Flipping twice gives every bit back.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_share("probability", self.probability)

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing: each key flips on its own."""
        return ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the flipped sample, or a shallow copy when the draw says so."""
        flipped = dict(sample)
        if rng.random() >= self.probability:
            return flipped
        for key in SPATIAL_KEYS:
            if key in sample:
                flipped[key] = np.ascontiguousarray(sample[key][..., ::-1])
        if "pointmap" in sample:
            # Our own copy since the line above; negation, unlike a product with -1, also gives NaN its bits back.
            np.negative(flipped["pointmap"][0], out=flipped["pointmap"][0])
        if "occupancy" in sample:
            flipped["occupancy"] = np.ascontiguousarray(sample["occupancy"][::-1])
        if "pose" in sample:
            # F pose F changes signs only, so it is written as such: exact, and no -0 noise from sums of products.
            flipped["pose"] = sample["pose"] * np.outer(_MIRROR, _MIRROR)
        return flipped
