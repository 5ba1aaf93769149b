"""Everything that decides what a synthetic catalog looks like, written down with it."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from eventsam.simulate.blur import num_blurred_frames
from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.trajectory import TrajectoryRanges

Background = Literal["colour", "clouds", "mixed", "photo"]
SPLITS = ("train", "val", "test")

OBJECT_FRAME = (
    "z up, bounding box centred on the origin, scaled by 0.96 / max(2 * largest horizontal radius, height); "
    "camera x left, y up, z forward; pose maps object to camera, column vectors"
)


@dataclass(frozen=True)
class RenderSettings:
    """How objects are rendered. Equal settings, object id and source give equal shards.

    `blur_levels` names entries of `BLUR_LEVELS` or exposures such as "25ms"; `margin_frames` keeps target frames away
    from the path's ends so that event windows around them are whole. `background`: one colour, clouds that pan with the
    camera, either by a coin, or the pictures of `background_folder`. `split_fractions` are the shares of objects in
    train, val and test.
    """

    height: int = 64
    width: int = 64
    num_frames: int = 80
    frame_interval_us: int = 1000
    trajectories_per_object: int = 1
    samples_per_trajectory: int = 4
    margin_frames: int = 25
    blur_levels: tuple[str, ...] = ("easy", "medium", "hard")
    occupancy_resolution: int = 64
    background: Background = "mixed"
    background_folder: str | None = None
    refine_contrast: float = 16.0
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    trajectory: TrajectoryRanges = field(default_factory=TrajectoryRanges)
    pixel_model: PixelModel = field(default_factory=PixelModel)

    def __post_init__(self) -> None:
        """Refuse settings under which no target frame exists."""
        if self.background not in get_args(Background):
            raise ValueError(f"unknown background {self.background!r} (allowed: {', '.join(get_args(Background))})")
        if (self.background == "photo") != (self.background_folder is not None):
            raise ValueError("background_folder goes with background='photo', and only with it")
        if not self.blur_levels:
            raise ValueError("blur_levels is empty, at least one is needed")
        self.num_blurred()
        if min(self.split_fractions) < 0 or abs(sum(self.split_fractions) - 1) > 1e-9:
            raise ValueError(f"split_fractions must be 0 or more and sum to 1, got {self.split_fractions}")
        for name in ("height", "width", "trajectories_per_object", "samples_per_trajectory", "occupancy_resolution"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed: 1 and above")
        self.target_frames()

    def num_blurred(self) -> dict[str, int]:
        """The number of frames that each blur level averages; raise ValueError for an unknown level."""
        return {name: num_blurred_frames(name, self.frame_interval_us) for name in self.blur_levels}

    def target_frames(self) -> list[int]:
        """The frames that become samples, evenly spread; raise ValueError where the path is too short for them."""
        margin = max(self.margin_frames, max(self.num_blurred().values()) // 2)
        last = self.num_frames - 1 - margin
        num_possible = max(0, last - margin + 1)
        if num_possible < self.samples_per_trajectory:
            raise ValueError(
                f"{self.num_frames} frames leave {num_possible} targets {margin} frames away from both ends,"
                f" {self.samples_per_trajectory} are asked for"
            )
        if self.samples_per_trajectory == 1:
            return [(margin + last) // 2]
        spacing = (last - margin) / (self.samples_per_trajectory - 1)
        return [round(margin + spacing * index) for index in range(self.samples_per_trajectory)]

    def split_of(self, index: int) -> str:
        """The split of the catalog's object number `index`: shares are kept closely for any number of objects.

        Multiples of the golden ratio fill [0, 1) evenly, so that no split stays empty in a small catalog, and objects
        keep their split when more are added.
        """
        place = (0.5 + index * 0.6180339887498949) % 1.0
        boundary = 0.0
        for name, share in zip(SPLITS, self.split_fractions, strict=True):
            boundary += share
            if place < boundary:
                return name
        return next(name for name, share in reversed(list(zip(SPLITS, self.split_fractions, strict=True))) if share > 0)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values of every setting."""
        values = dataclasses.asdict(self) | {"pixel_model": self.pixel_model.to_json()}
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RenderSettings":
        """Rebuild settings from `to_json`; raise ValueError for unknown or missing names."""
        plain: dict[str, Any] = {name: _tupled(value) for name, value in values.items()}
        try:
            plain["trajectory"] = TrajectoryRanges(**plain["trajectory"])
            plain["pixel_model"] = PixelModel.from_json(plain["pixel_model"])
            return cls(**plain)
        except (TypeError, KeyError) as error:
            raise ValueError(f"not render settings of this version: {error}") from error

    @property
    def content_hash(self) -> str:
        """SHA-256 of the settings, the object frame and the meaning of the blur levels."""
        whole = {"settings": self.to_json(), "object_frame": OBJECT_FRAME, "blur_levels": self.num_blurred()}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _tupled(value: Any) -> Any:
    """JSON lists back to tuples, inside mappings too."""
    if isinstance(value, Mapping):
        return {name: _tupled(entry) for name, entry in value.items()}
    return tuple(_tupled(entry) for entry in value) if isinstance(value, list) else value
