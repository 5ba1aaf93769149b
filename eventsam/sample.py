"""Every key that a sample may hold: its shape, dtype and unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from eventsam.unknown_name import unknown_name

Sample = dict[str, NDArray[Any]]
"""One example: key to array, as listed in `KEYS`."""


@dataclass(frozen=True)
class Key:
    """What a sample key holds.

    `shape` uses the letters of the project's legend (C channels, H W pixels, R grid cells per side); `dtype` is the
    numpy name, or a choice of two.
    """

    shape: str
    dtypes: tuple[str, ...]
    meaning: str

    @property
    def num_dims(self) -> int:
        """Number of axes; 0 for a scalar."""
        return len(self.shape.split())


VIEWS = ("crop", "full")
"""What an image of a sample shows: the object's crop, under its plain key, or the full image, under "<key>_full"."""

_KEYS: Mapping[str, Key] = {
    "sample_index": Key("", ("int64",), "row of the catalog's index"),
    "position": Key("", ("int64",), "place in the run's sample order"),
    "rgb": Key("3 H W", ("uint8",), "sharp frame at the row's time"),
    "rgb_blurry": Key("3 H W", ("uint8",), "mean frame over the row's exposure"),
    "rgb_edi": Key("3 H W", ("uint8",), "rgb_blurry deblurred to the row's time by the event double integral"),
    "mask": Key("1 H W", ("uint8",), "object mask of rgb, 0 or 1"),
    "mask_blurry": Key("1 H W", ("uint8",), "object mask as seen in rgb_blurry, 0 or 1"),
    "pointmap": Key("3 H W", ("float32",), "camera-frame points (x left, y up, z forward), NaN where invalid"),
    "event_image": Key("C H W", ("uint8", "int8", "float32"), "event representation of the row's window"),
    "occupancy": Key("R R R", ("bool",), "filled cells of the cube [-0.5, 0.5]^3, axes x, y, z (z up)"),
    "pose": Key("4 4", ("float32",), "occupancy frame to camera frame, column vectors"),
    "target_shape": Key("N C", ("float32",), "a teacher's shape latents of rgb, kept by `eventsam targets`"),
    "target_pose": Key("D", ("float32",), "a teacher's raw pose latents, one behind the other"),
    "target_occupancy": Key("R R R", ("bool",), "the cells that a teacher fills, in its own frame"),
}
KEYS: Mapping[str, Key] = {
    **_KEYS,
    **{
        f"{name}_full": Key(key.shape, key.dtypes, f"the full image's {name}, beside an object crop of it")
        for name, key in _KEYS.items()
        if key.shape.endswith("H W")
    },
}


def check_view(view: str) -> str:
    """Return the name of a view, or raise ValueError with the nearest known name."""
    if view in VIEWS:
        return view
    raise ValueError(unknown_name("view", view, VIEWS))


def view_key(name: str, view: str) -> str:
    """Return the key of a view of an image: "rgb" for its crop, "rgb_full" for the full image."""
    return name if check_view(view) == "crop" else f"{name}_full"


def check_key(name: str) -> Key:
    """Return the entry of a key, or raise KeyError with the nearest known name."""
    if name in KEYS:
        return KEYS[name]
    raise KeyError(unknown_name("sample key", name, KEYS))


def check_sample(sample: Mapping[str, NDArray[Any]], source: str) -> None:
    """Raise ValueError naming `source` where an array breaks its key's shape or dtype."""
    for name, array in sample.items():
        key = check_key(name)
        if array.dtype.name not in key.dtypes:
            raise ValueError(f"{source}: {name} has dtype {array.dtype}, allowed: {', '.join(key.dtypes)}")
        if array.ndim != key.num_dims:
            raise ValueError(f"{source}: {name} has shape {array.shape}, expected ({key.shape})")
