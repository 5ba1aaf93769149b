"""What every transform is, and the questions that several of them ask of a sample."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from eventsam.sample import Sample

COLOUR_KEYS = ("rgb", "rgb_blurry", "rgb_edi")
"""Camera images: uint8, interpolated when resized."""

MASK_KEYS = ("mask", "mask_blurry")
"""0/1 images: never interpolated."""

SPATIAL_KEYS = (*COLOUR_KEYS, *MASK_KEYS, "pointmap", "event_image")
"""Every key whose last two axes are image height and width."""


class Transform(Protocol):
    """A change of one sample.

    A transform returns a new dict and never writes into an array it was given; arrays it does not change are shared
    with the input. It changes whichever of its keys the sample holds. How many numbers it draws from `rng` depends on
    its own fields alone, never on the keys at hand, so reading one key more does not change the augmentation.
    """

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys that the transform cannot work without, to be read even where the task itself does not read them."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the transformed sample."""


@runtime_checkable
class MakesKeys(Protocol):
    """A transform that adds keys to a sample."""

    @property
    def makes(self) -> Mapping[str, str]:
        """Each key that is added, and the key that it is made from."""


def made_by(transforms: Iterable[Transform]) -> dict[str, str]:
    """Return each key that some transforms add, and the key that it is made from."""
    return {
        made: source
        for transform in transforms
        if isinstance(transform, MakesKeys)
        for made, source in transform.makes.items()
    }


def name_of(sample: Sample) -> str:
    """Return the words by which an error names a sample."""
    return f"sample_index {int(sample['sample_index'])}" if "sample_index" in sample else "a sample without an index"


def require(sample: Sample, key: str, wanted_by: str) -> NDArray[Any]:
    """Return `sample[key]`, or raise KeyError saying which transform wanted it and what the sample holds."""
    if key not in sample:
        raise KeyError(f"{name_of(sample)}: {wanted_by} needs key {key!r} (held: {', '.join(sample) or 'none'})")
    return sample[key]


def image_size(sample: Sample) -> tuple[int, int] | None:
    """Return (height, width) of the sample's images, None if it holds none; raise ValueError where they differ."""
    sizes = {key: sample[key].shape[-2:] for key in SPATIAL_KEYS if key in sample}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{key} {height} x {width}" for key, (height, width) in sizes.items())
        raise ValueError(f"{name_of(sample)}: images of one sample must have one size to be cut together, got {listed}")
    height, width = next(iter(sizes.values()), (0, 0))
    return (int(height), int(width)) if sizes else None


def blank_of(key: str, event_background: float = 0.0) -> float:
    """Return what stands where an image shows nothing: NaN in a pointmap, the background in an event image, else 0."""
    return {"pointmap": float("nan"), "event_image": event_background}.get(key, 0.0)


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless `value` lies in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}, allowed: 0 to 1")


def check_image_key(key: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless `key` is one of `allowed`."""
    if key not in allowed:
        raise ValueError(f"key is {key!r}, allowed: {', '.join(allowed)}")
