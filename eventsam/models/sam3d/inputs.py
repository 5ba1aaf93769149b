"""What the condition embedder reads: an object's crop and its whole frame, as images, masks, pointmaps and events."""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from eventsam.models.fusion.injected import has_events


@dataclass(frozen=True)
class ConditionInputs:
    """B objects as crops, and their full frames, all S x S; names are those of the released model's keywords.

    Images (B, 3, S, S) uint8 or float in [0, 1], masks (B, 1, S, S) 0 or 1, pointmaps (B, 3, S, S) normalised, NaN
    where invalid; event images (B, C, S, S). With `image_index` (B,), several objects share a frame: `rgb_image` and
    `rgb_event_image` then have one row per frame, and object i is seen in frame image_index[i].

    `has_pointmap` (B,) bool: the other samples' pointmaps count as dropped. `has_events`, bool and one per row of
    `rgb_event_image`: where False, fusion falls back to RGB; None finds out from `rgb_event_image`, where an empty
    window must be one value per channel (padding hides it on a white background: say it then). `pointmap_scale` (B, 1)
    and `pointmap_shift` (B, 3) turn latents into a metric pose; where there is no pointmap they are 1 and 0, and the
    pose is relative.
    """

    image: Tensor
    rgb_image: Tensor
    mask: Tensor
    rgb_image_mask: Tensor
    pointmap: Tensor | None = None
    rgb_pointmap: Tensor | None = None
    event_image: Tensor | None = None
    rgb_event_image: Tensor | None = None
    pointmap_scale: Tensor | None = None
    pointmap_shift: Tensor | None = None
    has_pointmap: Tensor | None = None
    has_events: Tensor | None = None
    image_index: Tensor | None = None

    def __post_init__(self) -> None:
        for first, second in (("pointmap", "rgb_pointmap"), ("event_image", "rgb_event_image")):
            if (getattr(self, first) is None) != (getattr(self, second) is None):
                raise ValueError(f"{first} and {second} go together: give both or neither")
        num_frames = len(self.image) if self.image_index is None else len(self.rgb_image)
        for name, expected in (("mask", len(self)), ("rgb_image", num_frames), ("rgb_event_image", num_frames)):
            given = getattr(self, name)
            if given is not None and len(given) != expected:
                raise ValueError(f"{name} has {len(given)} rows, expected {expected}")
        if self.image_index is not None and len(self.image_index) != len(self):
            raise ValueError(f"image_index has {len(self.image_index)} entries for {len(self)} objects")

    def __len__(self) -> int:
        return len(self.image)

    def of_objects(self, frames: Tensor) -> Tensor:
        """Repeat rows per frame to rows per object."""
        return frames if self.image_index is None else frames[self.image_index]

    def frames_with_events(self) -> Tensor:
        """Return which frames hold events, bool; raise ValueError where there are no event images."""
        if self.rgb_event_image is None:
            raise ValueError("the inputs have no event images")
        return has_events(self.rgb_event_image) if self.has_events is None else self.has_events

    def pose_frame(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return scale (B, 1), shift (B, 3) and whether they are a pointmap's (B,); else 1 and 0."""
        if self.pointmap_scale is not None and self.pointmap_shift is not None:
            known = torch.ones(len(self), dtype=torch.bool, device=self.image.device)
            return self.pointmap_scale, self.pointmap_shift, known if self.has_pointmap is None else self.has_pointmap
        like = self.image.new_zeros(len(self), dtype=torch.float32)
        return like[:, None] + 1, like[:, None].expand(-1, 3), like > 0

    def to(self, device: torch.device | str) -> Self:
        """Move all tensors to a device."""
        moved = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in moved.items() if value is not None})
