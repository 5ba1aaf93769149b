"""Brings a latent space to mean 0 and deviation 1 per channel, by running statistics that are kept with the model."""

import torch
from torch import Tensor, distributed, nn


class LatentScale(nn.Module):
    """Subtract each channel's running mean and divide by its running deviation.

    In train mode, statistics are first updated from the values at hand, over all workers: an average that weighs the
    step `k` ago by (1 - momentum)^k and never counts its own start. Values are normalised by the statistics, not by
    the batch, so a sample's latents do not depend on the samples beside it.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor

    def __init__(self, channels: int, momentum: float = 0.05, smallest: float = 1e-3) -> None:
        super().__init__()
        self.momentum, self.smallest = momentum, smallest
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        # How much of the average is made of data yet, from 0 to 1.
        self.register_buffer("weight", torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        """Normalise (B, C, X, Y, Z)."""
        if self.training:
            self._update(values.detach())
        # Copies: the next update must not change what this step's gradient still needs.
        return (values - _cells(self.mean.clone())) / _cells(self.std.clone())

    @torch.no_grad()
    def _update(self, values: Tensor) -> None:
        moments = torch.stack([values.float().mean(dim=(0, 2, 3, 4)), values.float().square().mean(dim=(0, 2, 3, 4))])
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(moments)
            moments /= distributed.get_world_size()
        known = torch.stack([self.mean, self.std.square() + self.mean.square()])
        weight = self.weight + self.momentum * (1 - self.weight)
        mean, square = known + (self.momentum / weight) * (moments - known)
        self.mean.copy_(mean)
        self.std.copy_((square - mean.square()).clamp_min(self.smallest**2).sqrt())
        self.weight.copy_(weight)


def _cells(channels: Tensor) -> Tensor:
    return channels[:, None, None, None]
