"""Keep the full image beside the crop that later transforms make of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eventsam.sample import Sample, view_key
from eventsam.transforms.crop import cut
from eventsam.transforms.resize import resize_colour, resize_nearest
from eventsam.transforms.transform import COLOUR_KEYS, SPATIAL_KEYS, blank_of, check_image_key, image_size


@dataclass(frozen=True)
class FullView:
    """Add "<key>_full" for each of `keys`: the image padded to a square around its centre, `height` x `width` pixels.

    What is added is the full view that SAM 3D's condition holds beside the object's crop (arXiv 2511.16624): later
    transforms leave it alone, so this one stands before `ObjectCrop`. Padding is 0, NaN in a pointmap and
    `event_background` in an event image; sizes change as in `Resize`. A sample without a key gets no view of it.
    """

    height: int
    width: int
    keys: tuple[str, ...] = ("rgb", "event_image")
    event_background: float = 0.0

    def __post_init__(self) -> None:
        for key in self.keys:
            check_image_key(key, SPATIAL_KEYS)
        if self.height < 1 or self.width < 1:
            raise ValueError(f"size is {self.height} x {self.width}, allowed: 1 x 1 or more pixels")

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing: each view is made of its own key."""
        return ()

    @property
    def makes(self) -> Mapping[str, str]:
        """The full views, and the images that they are made from."""
        return {view_key(key, "full"): key for key in self.keys}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with the views added; draws nothing from `rng`."""
        viewed, size = dict(sample), image_size(sample)
        if size is None:
            return viewed
        side = max(size)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        for made, key in self.makes.items():
            if key in sample:
                square = cut(sample[key], top, left, side, side, blank_of(key, self.event_background))
                resize = resize_colour if key in COLOUR_KEYS else resize_nearest
                viewed[made] = resize(square, self.height, self.width)
        return viewed
