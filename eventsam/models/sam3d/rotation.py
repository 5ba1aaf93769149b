"""Rotation matrices from six numbers and to unit quaternions, batched and differentiable."""

import torch
import torch.nn.functional as F
from torch import Tensor


def from_rot6d(numbers: Tensor) -> Tensor:
    """Return rotations (..., 3, 3) whose columns are b1, b2, b3, from two vectors a1, a2 as (..., 6).

    b1 = a1 / |a1|, b2 = what of a2 is orthogonal to b1, normalised, b3 = b1 x b2 (arXiv 1812.07035, eq. 15). Where a
    vector is zero or the two are parallel there is no rotation: NaN.
    """
    first, second = numbers[..., :3], numbers[..., 3:]
    b1 = first / first.norm(dim=-1, keepdim=True)
    rest = second - (b1 * second).sum(dim=-1, keepdim=True) * b1
    b2 = rest / rest.norm(dim=-1, keepdim=True)
    return torch.stack([b1, b2, torch.linalg.cross(b1, b2)], dim=-1)


def to_rot6d(rotation: Tensor) -> Tensor:
    """Return the first two columns of rotations (..., 3, 3) as (..., 6): b1, then b2."""
    return rotation[..., :2].mT.flatten(-2)


def matrix_to_quaternion(rotation: Tensor) -> Tensor:
    """Return unit quaternions (..., 4), w x y z with w >= 0, of rotations (..., 3, 3).

    The entries of 4 q q^T are sums of the matrix's; the row with the largest diagonal, normalised, is q to full
    precision for any angle.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in rotation.unbind(-2))
    rows = (
        (1 + a + e + i, h - f, c - g, d - b),
        (h - f, 1 + a - e - i, b + d, c + g),
        (c - g, b + d, 1 - a + e - i, f + h),
        (d - b, c + g, f + h, 1 - a - e + i),
    )
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    row = outer.take_along_dim(best[..., None, None], dim=-2).squeeze(-2)
    quaternion = F.normalize(row, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
