"""Normalisation of a batch of voxel grids on its device."""

import torch
from torch import Tensor


def normalize_nonzero(image: Tensor) -> None:
    """Shift and scale each window's nonzero voxels to mean 0 and population deviation 1, in place; zeros stay zero.

    `image` (B, K, H W) float32. As on the CPU: float64 sums, two passes, one rounding at the end, and where all nonzero
    voxels of a window are equal only their mean is taken off. The order of the sums differs, and with it perhaps the
    last bits.
    """
    for window in image:
        values = window.to(torch.float64)
        nonzero = values != 0
        count = nonzero.sum()
        mean = values.sum() / count.clamp(min=1)
        deviation = torch.where(nonzero, values - mean, 0.0)
        low = torch.where(nonzero, values, torch.inf).amin()
        high = torch.where(nonzero, values, -torch.inf).amax()
        squares = deviation.square().sum()
        scale = torch.where(high > low, (count / squares).sqrt(), 0.0)
        window.copy_(torch.where(nonzero, deviation * scale, 0.0))
