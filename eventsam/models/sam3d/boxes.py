"""The box around an object's mask from which its crop is cut, by the released model's integer rules."""

from collections.abc import Sequence

import torch
from torch import Tensor

BOX_FACTOR = 1.2


def crop_boxes(mask: Tensor, ids: Sequence[object], factor: float = BOX_FACTOR) -> Tensor:
    """Return the crop boxes (B, 4) int64, top, left, bottom, right, of masks (B, 1, H, W).

    With the first and last touched pixel a, b of each axis, the side is int(max(b - a over both axes, 2) * factor); the
    corners are int((a + b) / 2 -+ side // 2), where int drops the fraction towards zero, so a box across the frame's
    first row or column can be a pixel shorter there. A box may reach outside the frame. The mask of the whole frame is
    a box larger than the frame.

    Raises ValueError naming the samples whose mask is empty, or whose box is less than 2 pixels wide or high.
    """
    touched = mask[:, 0] > 0
    _refuse(~touched.flatten(1).any(dim=1), ids, "the mask is empty: there is no object to crop")
    spans = [_span(touched.any(dim=other)) for other in (2, 1)]
    extent = torch.stack([last - first for first, last in spans]).amax(dim=0).clamp_min(2)
    half = (extent.double() * factor).long() // 2
    (top, bottom), (left, right) = (_corners(*span, half) for span in spans)
    boxes = torch.stack([top, left, bottom, right], dim=1)
    _refuse((boxes[:, 2:] - boxes[:, :2]).amin(dim=1) < 2, ids, "the box around the mask is less than 2 pixels wide")
    return boxes


def _span(touched: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the last True of each row of (B, P)."""
    places = touched.int()
    return places.argmax(dim=1), touched.shape[1] - 1 - places.flip(1).argmax(dim=1)


def _corners(first: Tensor, last: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    low, high = first + last - 2 * half, first + last + 2 * half
    return torch.div(low, 2, rounding_mode="trunc"), torch.div(high, 2, rounding_mode="trunc")


def _refuse(bad: Tensor, ids: Sequence[object], reason: str) -> None:
    if bool(bad.any()):
        named = ", ".join(str(ids[i]) for i in bad.nonzero().flatten().tolist())
        raise ValueError(f"sample {named}: {reason}")
