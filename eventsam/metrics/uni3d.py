"""Uni3D similarity: does a shape look, to a model of shapes and images, like the object in the picture?"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from eventsam.metrics.state import MetricState, PerSample
from eventsam.metrics.surface import sample_grid
from eventsam.models.clip_images import UNI3D_CLIP, ClipImages
from eventsam.models.freeze import Freezable
from eventsam.models.uni3d import load_uni3d

NUM_POINTS = 10_000
UNKNOWN_COLOUR = 0.4
"""The grey that Uni3D was trained to see where a shape has no colour."""
CROP_SHARE = 1.2
"""Side of the square crop over the longer side of the mask's box."""


class Uni3dSimilarity(Freezable):
    """Cosine of a shape's Uni3D feature with the CLIP feature of the picture of its object (arXiv 2310.06773).

    `weights` and `clip_weights` are safetensors files. Raises as `load_uni3d` and `ClipImages` do.
    """

    def __init__(
        self, weights: str | Path, clip_weights: str | Path, size: str = "base", clip: str = UNI3D_CLIP
    ) -> None:
        super().__init__()
        self.images = ClipImages(clip_weights, clip)
        self.shapes = load_uni3d(weights, size)

    @torch.no_grad()
    def image_features(self, rgb: Tensor, mask: Tensor) -> Tensor:
        """Return unit features (B, D) of the masked objects in rgb (B, 3, H, W) uint8; mask (B, 1, H, W) 0 or 1."""
        crops = [self.images(object_crop(image, cut)[None]) for image, cut in zip(rgb, mask, strict=True)]
        return F.normalize(torch.cat(crops), dim=-1)

    @torch.no_grad()
    def shape_features(self, occupancy: Tensor) -> Tensor:
        """Return unit features (B, D) of bool grids (B, R, R, R), zero for an empty one."""
        device = self.shapes.cls_token.device
        features = [self._shape_feature(grid, device) for grid in occupancy.cpu().numpy()]
        return torch.stack(features)

    def states(self, occupancy: Tensor, image_features: Tensor, sample_index: Tensor) -> dict[str, MetricState]:
        """Return the per-sample state "uni3d": the cosine of grids with `image_features`; an empty grid scores 0."""
        cosine = (self.shape_features(occupancy) * image_features).sum(dim=-1)
        return {"uni3d": PerSample(sample_index.cpu().numpy(), cosine.double().cpu().numpy())}

    def _shape_feature(self, grid: NDArray[np.bool_], device: torch.device) -> Tensor:
        if not grid.any():
            return torch.zeros(self.shapes.trans2embed.out_features, device=device)
        points = torch.from_numpy(uni3d_points(sample_grid(grid, NUM_POINTS).points)).to(device)[None]
        return F.normalize(self.shapes(points, torch.full_like(points, UNKNOWN_COLOUR)), dim=-1)[0]


def uni3d_points(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return points (N, 3) of our frame (z up) as Uni3D sees them: y up, centred on their mean, of unit radius.

    (x, y, z) becomes (x, z, -y), a turn about x and no mirror image. Data sets in Uni3D's training swap axes here and
    there; y up is that of its Objaverse point clouds (glTF) and is used for every shape.
    """
    turned = np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=-1)
    turned -= turned.mean(axis=0)
    radius = float(np.linalg.norm(turned, axis=1).max())
    scaled: NDArray[np.float32] = (turned / max(radius, 1e-12)).astype(np.float32)
    return scaled


def object_crop(rgb: Tensor, mask: Tensor) -> Tensor:
    """Return the square (3, S, S) around the mask's box, black outside the mask; all of the image for an empty mask.

    rgb (3, H, W) uint8, mask (1, H, W) 0 or 1. What lies outside the image is black too.
    """
    if not mask.any():
        return rgb
    rows, columns = (torch.nonzero(mask[0].any(dim=axis)).flatten() for axis in (1, 0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    side = round(CROP_SHARE * max(bottom - top, right - left))
    row, column = (top + bottom - side) // 2, (left + right - side) // 2
    padded = F.pad(rgb * mask.to(rgb.dtype), (side, side, side, side))
    return padded[:, row + side : row + 2 * side, column + side : column + 2 * side]
