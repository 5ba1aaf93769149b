"""Crops of frames, centre-padded to squares and resized, for a whole batch at once and each sample with its own box."""

import torch
from torch import Tensor


def resize_smooth(images: Tensor, boxes: Tensor, frames: Tensor, size: int) -> Tensor:
    """Cut `boxes` out of images (B, C, H, W), pad to squares and resize with antialiasing: (B, C, size, size) float32.

    The bilinear filter widens with the reduction, as torch's `interpolate(antialias=True)` does. Boxes (B, 4) are top,
    left, bottom, right; frames (B, 2) the height and width that hold the image, at the top left of (H, W). What lies
    outside the frame or pads the square is 0.
    """
    top, left, side = _squares(boxes)
    rows = _weights(top, side, (boxes[:, 0].clamp_min(0), boxes[:, 2].minimum(frames[:, 0])), images.shape[2], size)
    columns = _weights(left, side, (boxes[:, 1].clamp_min(0), boxes[:, 3].minimum(frames[:, 1])), images.shape[3], size)
    # Lower precision would be visible: these are the pixels themselves.
    with torch.autocast(images.device.type, enabled=False):
        return rows[:, None] @ images.float() @ columns[:, None].transpose(2, 3)


def resize_nearest(
    images: Tensor, boxes: Tensor, frames: Tensor, size: int, outside: float = 0.0, padding: float = 0.0
) -> Tensor:
    """Like `resize_smooth`, by the nearest pixel: output i shows the square's pixel floor(i * side / size).

    What lies in the box but outside the frame is `outside`, what pads the square `padding`. Keeps the dtype.
    """
    top, left, side = _squares(boxes)
    steps = torch.arange(size, device=images.device)
    offsets = steps * side[:, None] // size
    y, x = top[:, None] + offsets, left[:, None] + offsets
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    rows = y.clamp(0, images.shape[2] - 1)[:, :, None]
    columns = x.clamp(0, images.shape[3] - 1)[:, None, :]
    taken = images[batch, :, rows, columns].permute(0, 3, 1, 2)
    in_frame = _inside(y, 0, frames[:, 0])[:, :, None] & _inside(x, 0, frames[:, 1])[:, None, :]
    in_box = _inside(y, boxes[:, 0], boxes[:, 2])[:, :, None] & _inside(x, boxes[:, 1], boxes[:, 3])[:, None, :]
    filled = torch.where(in_frame[:, None], taken, torch.full_like(taken, outside))
    return torch.where(in_box[:, None], filled, torch.full_like(taken, padding))


def _squares(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return top, left and side of the squares around the boxes; an odd rest of padding goes to the bottom, right."""
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    side = height.maximum(width)
    return boxes[:, 0] - (side - height) // 2, boxes[:, 1] - (side - width) // 2, side


def _weights(start: Tensor, side: Tensor, kept: tuple[Tensor, Tensor], length: int, size: int) -> Tensor:
    """Return the filter (B, size, length) from an axis of `length` pixels to `size`, for squares at `start`.

    Only pixels between the bounds `kept` have weight; the others count in the sum to which weights are normalised, as
    the zeros that they show.
    """
    pixels = torch.arange(length, device=start.device)
    weights = _triangle(pixels - start[:, None], side, size)
    everywhere = torch.arange(int(side.max()), device=start.device).expand(len(side), -1)
    total = _triangle(everywhere, side, size).masked_fill((everywhere >= side[:, None])[:, None], 0).sum(dim=2)
    shown = _inside(pixels.expand(len(side), -1), *kept)
    return weights * shown[:, None] / total[:, :, None]


def _triangle(places: Tensor, side: Tensor, size: int) -> Tensor:
    """Return the triangle filter (B, size, P) at integer places (B, P) of squares of `side` pixels."""
    outputs = torch.arange(size, device=side.device)
    # The distance (p + 1/2) - (i + 1/2) side / size is a fraction of integers: rounded once, at the division.
    twice = (2 * places + 1)[:, None] * size - (2 * outputs + 1)[:, None] * side[:, None, None]
    reach = 2 * side.clamp_min(size)[:, None, None]
    return (1 - twice.abs().float() / reach).clamp_min(0)


def _inside(places: Tensor, first: Tensor | int, end: Tensor) -> Tensor:
    """Tell which places (B, P) lie in [first, end), bounds per sample."""
    low = first[:, None] if isinstance(first, Tensor) else first
    return (places >= low) & (places < end[:, None])
