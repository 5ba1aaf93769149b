"""From frames, object masks and pointmaps to what the condition embedder reads, a whole batch at once on its device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from eventsam.models.fusion.injected import has_events
from eventsam.models.pointmap_embedder import normalise_pointmap
from eventsam.models.sam3d.boxes import BOX_FACTOR, crop_boxes
from eventsam.models.sam3d.inputs import ConditionInputs
from eventsam.models.sam3d.resample import resize_nearest, resize_smooth


@dataclass(frozen=True)
class Frames:
    """Object masks (B, 1, H, W), 0 or not, and the frames they lie in.

    `image` (B, 3, H, W) uint8, or float in [0, 1]; `pointmap` (B, 3, h, w) in the camera frame (x left, y up, z
    forward), NaN or infinite where invalid, of any size (the nearest point is taken); `event_image` (B, C, H, W).
    With `image_index` (B,), object i is seen in frame image_index[i] and the others have one row per frame.

    Frames of several sensors go into one batch on a common canvas (H, W), each at its top left, with its own height and
    width in `sizes` (one row per frame; `stack_frames`). `has_events`, bool and one per frame, says which windows hold
    events; None finds out from the event images. A control that shows blank event images on purpose gives True.
    `ids` name the samples in errors.
    """

    image: Tensor
    mask: Tensor
    pointmap: Tensor | None = None
    event_image: Tensor | None = None
    image_index: Tensor | None = None
    sizes: Tensor | None = None
    has_events: Tensor | None = None
    ids: Sequence[object] | None = None


@dataclass(frozen=True)
class Preprocess:
    """SAM 3D's preparation (arXiv 2511.16624): crop around the mask, pad to a square, resize to `size`.

    Images (also event images) are resized with antialiasing, masks and pointmaps by the nearest pixel. A crop shows 0
    outside the frame; its pointmap shows the normalised point 0 there ("zero", as the released model was trained) or
    no point ("invalid"). Squares are padded with 0, and no point. The background stays: the mask has its own tokens.

    A sample whose pointmap has no valid point inside its mask counts as one without a pointmap (`has_pointmap`).
    Raises ValueError naming the samples with an empty mask, and for shapes that disagree.
    """

    size: int
    box_factor: float = BOX_FACTOR
    pointmap_outside: Literal["zero", "invalid"] = "zero"

    def __call__(self, frames: Frames) -> ConditionInputs:
        """Prepare a batch; floating results are float32, images in [0, 1]."""
        _check(frames)
        mask, per_object = (frames.mask > 0).float(), frames.image_index
        num_frames, canvas = len(frames.image), frames.image.shape[2:]
        sizes = frames.sizes
        if sizes is None:
            sizes = torch.tensor([canvas] * num_frames, device=mask.device)
        whole = torch.cat([torch.zeros_like(sizes), sizes], dim=1)
        own_sizes, own_whole = (value if per_object is None else value[per_object] for value in (sizes, whole))
        boxes = crop_boxes(mask, frames.ids or range(len(mask)), self.box_factor)
        prepared = {
            "mask": resize_nearest(mask, boxes, own_sizes, self.size),
            "rgb_image_mask": resize_nearest(mask, own_whole, own_sizes, self.size),
        }
        for name, images in (("image", frames.image), ("event_image", frames.event_image)):
            if images is not None:
                own = images if per_object is None else images[per_object]
                prepared[name] = _scaled(resize_smooth(own, boxes, own_sizes, self.size), images)
                prepared[f"rgb_{name}"] = _scaled(resize_smooth(images, whole, sizes, self.size), images)
        if frames.pointmap is not None:
            prepared |= self._pointmaps(frames.pointmap, mask, boxes, own_sizes, own_whole, per_object)
        if frames.event_image is not None:
            found = _shows_events(frames.event_image, sizes) if frames.has_events is None else frames.has_events
            prepared["has_events"] = found
        return ConditionInputs(**prepared, image_index=per_object)

    def _pointmaps(
        self, pointmap: Tensor, mask: Tensor, boxes: Tensor, sizes: Tensor, whole: Tensor, per_object: Tensor | None
    ) -> dict[str, Tensor]:
        """Normalise on the full frame, then cut the crop and the frame."""
        if pointmap.shape[2:] != mask.shape[2:]:
            pointmap = functional.interpolate(pointmap, size=mask.shape[2:], mode="nearest")
        pointmap = (pointmap if per_object is None else pointmap[per_object]).float()
        has_pointmap = (pointmap.isfinite().all(dim=1, keepdim=True) & (mask > 0)).flatten(1).any(dim=1)
        normalised, shift, scale = normalise_pointmap(pointmap, mask)
        shift, scale = shift.where(has_pointmap[:, None], 0), scale.where(has_pointmap, 1)
        outside = 0.0 if self.pointmap_outside == "zero" else torch.nan
        return {
            "pointmap": resize_nearest(normalised, boxes, sizes, self.size, outside, torch.nan),
            "rgb_pointmap": resize_nearest(normalised, whole, sizes, self.size, outside, torch.nan),
            "pointmap_scale": scale[:, None],
            "pointmap_shift": shift,
            "has_pointmap": has_pointmap,
        }


def stack_frames(frames: Sequence[Tensor], fill: float = 0) -> tuple[Tensor, Tensor]:
    """Put frames (C, H, W) of several sensors onto one canvas; return (B, C, H, W) and their sizes (B, 2).

    Masks and event images take `fill` 0; pointmaps take NaN, so that nothing outside a frame counts as a point.
    """
    sizes = torch.tensor([tuple(frame.shape[1:]) for frame in frames], device=frames[0].device)
    height, width = (int(side) for side in sizes.amax(dim=0))
    padded = [functional.pad(f, (0, width - f.shape[2], 0, height - f.shape[1]), value=fill) for f in frames]
    return torch.stack(padded), sizes


def _scaled(resized: Tensor, original: Tensor) -> Tensor:
    return resized if original.is_floating_point() else resized / 255


def _shows_events(images: Tensor, sizes: Tensor) -> Tensor:
    """Return which event images (B, C, H, W) show any, whatever the canvas around the frame holds."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) < sizes[:, :1]
    columns = torch.arange(width, device=images.device) < sizes[:, 1:]
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    return has_events(images.where(inside, images[:, :, :1, :1]))


def _check(frames: Frames) -> None:
    """Refuse shapes that disagree."""
    mask, canvas = frames.mask, frames.image.shape[2:]
    num_frames = len(frames.image)
    if frames.image.ndim != 4 or frames.image.shape[1] != 3:
        raise ValueError(f"expected images (B, 3, H, W), got {tuple(frames.image.shape)}")
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.shape[2:] != canvas:
        raise ValueError(f"expected masks (B, 1, {canvas[0]}, {canvas[1]}) like the images, got {tuple(mask.shape)}")
    events = frames.event_image
    if events is not None and (events.ndim != 4 or events.shape[2:] != canvas):
        raise ValueError(f"expected event images (B, C, {canvas[0]}, {canvas[1]}), got {tuple(events.shape)}")
    pointmap = frames.pointmap
    if pointmap is not None and (pointmap.ndim != 4 or pointmap.shape[1] != 3):
        raise ValueError(f"expected pointmaps (B, 3, H, W), got {tuple(pointmap.shape)}")
    if pointmap is not None and frames.sizes is not None and pointmap.shape[2:] != canvas:
        raise ValueError(f"pointmaps on a common canvas need its size {tuple(canvas)}, got {tuple(pointmap.shape)}")
    num_objects = num_frames if frames.image_index is None else len(frames.image_index)
    if len(mask) != num_objects or (frames.ids is not None and len(frames.ids) != num_objects):
        raise ValueError(f"{num_objects} objects, but {len(mask)} masks and ids {frames.ids}")
    for name in ("pointmap", "event_image", "sizes", "has_events"):
        value = getattr(frames, name)
        if value is not None and len(value) != num_frames:
            raise ValueError(f"{name} has {len(value)} rows for {num_frames} frames")
