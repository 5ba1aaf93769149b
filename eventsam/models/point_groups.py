"""Point clouds cut into groups: farthest-point samples and their nearest neighbours, in plain torch."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Groups(NamedTuple):
    """`centres` (B, G, 3); `features` (B, G, K, 6) of each group's K points: offset from the centre, colour."""

    centres: Tensor
    features: Tensor


def farthest_points(points: Tensor, num_samples: int) -> Tensor:
    """Return the indices (B, num_samples) of points (B, N, 3), each the farthest from all chosen before it.

    The first is point 0 and ties go to the lowest index, so the choice is a function of the points alone. Raises
    ValueError for fewer points than samples.
    """
    if points.ndim != 3 or points.shape[2] != 3 or not 1 <= num_samples <= points.shape[1]:
        raise ValueError(f"expected points (B, N, 3) with N >= {num_samples} >= 1, got {tuple(points.shape)}")
    chosen = torch.zeros(len(points), num_samples, dtype=torch.long, device=points.device)
    distance = torch.full(points.shape[:2], torch.inf, dtype=points.dtype, device=points.device)
    for n in range(1, num_samples):
        last = points.gather(1, chosen[:, n - 1, None, None].expand(-1, 1, 3))
        distance = torch.minimum(distance, (points - last).square().sum(dim=-1))
        chosen[:, n] = distance.argmax(dim=1)
    return chosen


def nearest_points(queries: Tensor, points: Tensor, count: int) -> Tensor:
    """Return the indices (B, G, count) of each query's (B, G, 3) nearest points (B, N, 3), nearest first.

    Raises ValueError for fewer points than asked for.
    """
    if not 1 <= count <= points.shape[1]:
        raise ValueError(f"{count} neighbours were asked for among {points.shape[1]} points")
    # Differences, not the expanded square: that loses the small distances that decide here.
    distance = torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.topk(count, dim=-1, largest=False, sorted=True).indices


def group_points(points: Tensor, colours: Tensor, num_groups: int, group_size: int) -> Groups:
    """Cut points and colours (B, N, 3) into groups around farthest points."""
    centres = _gather(points, farthest_points(points, num_groups))
    members = nearest_points(centres, points, group_size)
    flat = members.flatten(1)
    shape = (*members.shape, 3)
    offsets = _gather(points, flat).view(shape) - centres[:, :, None]
    return Groups(centres, torch.cat([offsets, _gather(colours, flat).view(shape)], dim=-1))


class GroupEncoder(nn.Module):
    """A small PointNet (Qi et al. 2017) over each group: two pairs of 1 x 1 convolutions, a maximum after each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first_conv = nn.Sequential(
            nn.Conv1d(6, 128, 1), nn.BatchNorm1d(128), nn.ReLU(inplace=True), nn.Conv1d(128, 256, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Conv1d(512, width, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Encode (B, G, K, 6) to (B, G, width)."""
        batch, num_groups = features.shape[:2]
        local = self.first_conv(features.flatten(0, 1).transpose(1, 2))
        whole = local.amax(dim=2, keepdim=True).expand_as(local)
        joined = self.second_conv(torch.cat([whole, local], dim=1))
        encoded: Tensor = joined.amax(dim=2)
        return encoded.view(batch, num_groups, self.width)


def _gather(points: Tensor, index: Tensor) -> Tensor:
    """Pick (B, M) of the points (B, N, 3)."""
    return points.gather(1, index[..., None].expand(-1, -1, 3))
