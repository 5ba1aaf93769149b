"""The same scatters in plain torch, for any device: reductions of integers with `amax` and additions, free of order.

Never `put_`, `index_put_` or `scatter_` with repeated places: which write wins there is left open. `axis` is (B, 2)
int64 on the batch's device: where the time axis of each window starts and ends, in us from its t0. `image` is the
C-contiguous (B, C, H W) to fill.
"""

import torch
from torch import Tensor

from eventsam.representations.gpu.batch import EventBatch
from eventsam.representations.gpu.surface_tables import SurfaceTables


def tencode(batch: EventBatch, axis: Tensor, background: int, image: Tensor) -> None:
    """Fill the Tencode image (B, 3, H W) uint8."""
    image.fill_(background)
    if not len(batch.xy):
        return
    keys = _last_keys(batch, num_planes=1)[:, 0]
    touched = keys >= 0
    end, duration = axis[:, 1:], axis[:, 1:] - axis[:, :1]
    age = torch.where(touched, end - _times(batch, keys), 0)
    # floor(age * 255 / duration + 1/2) over whole numbers.
    level = torch.div(age * 510 + duration, (duration * 2).clamp_(min=1), rounding_mode="floor")
    level = torch.where(duration > 0, level, 255)
    on = (keys & 1) * 255
    for channel, value in enumerate((on, level, 255 - on)):
        image[:, channel] = torch.where(touched, value.to(torch.uint8), background)


def histogram(
    batch: EventBatch, axis: Tensor, num_bins: int, shares: Tensor | None, cutoff: int, wrapping: bool, image: Tensor
) -> None:
    """Fill the counts (B, 2 K, H W) uint8, channel p K + b; see `_bins` for `shares`."""
    window, pixel = _places(batch)
    plane = (window * 2 + batch.p) * num_bins + _bins(batch, window, axis, num_bins, shares)
    counts = torch.zeros(image.numel(), dtype=torch.int32, device=batch.device)
    counts.index_add_(0, plane * image.shape[2] + pixel, torch.ones_like(batch.dt))
    if wrapping:
        counts &= 255
    image.copy_(counts.clamp_(max=cutoff).view_as(image))


def mixed_density(
    batch: EventBatch, axis: Tensor, shares: Tensor, bounds: tuple[int, int], wrapping: bool, image: Tensor
) -> None:
    """Fill the sums (B, K, H W) int8 of 2 p - 1 over each bin and the earlier ones, kept between two bounds."""
    window, pixel = _places(batch)
    num_bins = len(shares)
    plane = window * num_bins + _bins(batch, window, axis, num_bins, shares)
    sums = torch.zeros(image.numel(), dtype=torch.int32, device=batch.device)
    sums.index_add_(0, plane * image.shape[2] + pixel, batch.p.to(torch.int32) * 2 - 1)
    totals = sums.view_as(image).cumsum(1, dtype=torch.int32)
    if wrapping:
        # The low eight bits with their sign.
        totals = ((totals + 128) & 255) - 128
    image.copy_(totals.clamp_(*bounds))


def voxel_grid(batch: EventBatch, axis: Tensor, image: Tensor) -> None:
    """Fill the voxels (B, K, H W) float32 from sums of whole numbers."""
    num_bins, num_pixels = image.shape[1:]
    window, pixel = _places(batch)
    whole = (axis[:, 1] - axis[:, 0]).clamp_(min=1)
    scaled = (batch.dt - axis[:, 0][window]) * (num_bins - 1)
    bins = torch.div(scaled, whole[window], rounding_mode="floor")
    age = scaled - bins * whole[window]
    sign = batch.p.to(torch.int64) * 2 - 1
    slot = (window * num_bins + bins) * num_pixels + pixel
    sums = torch.zeros(image.numel(), dtype=torch.int64, device=batch.device)
    sums.index_add_(0, slot, sign * (whole[window] - age))
    # An event at a bin's start has no share in the next, which the last bin lacks.
    sums.index_add_(0, torch.where(age > 0, slot + num_pixels, slot), sign * age)
    image.copy_(sums.view_as(image).to(torch.float64) / whole.to(torch.float64)[:, None, None])


def time_surface(batch: EventBatch, axis: Tensor, tables: SurfaceTables, image: Tensor) -> None:
    """Fill the decays (B, 2, H W) float32 of each polarity's last event."""
    image.zero_()
    if not len(batch.xy):
        return
    keys = _last_keys(batch, num_planes=2)
    age = axis[:, 1, None, None] - _times(batch, keys)
    shown = (keys >= 0) & (age <= tables.oldest_us)
    step = torch.where(shown, (age + tables.rounding) >> tables.shift, 0)
    value = tables.coarse[(step >> tables.fine_bits) + 1] * tables.fine[step & ((1 << tables.fine_bits) - 1)]
    image.copy_(torch.where(shown, value, 0.0))


def _bins(batch: EventBatch, window: Tensor, axis: Tensor, num_bins: int, shares: Tensor | None) -> Tensor:
    # Bin b holds the events that are at least shares[b] of the axis past its start, in float32 as on the CPU; without
    # shares the bins are equal, exactly.
    since = batch.dt - axis[:, 0][window]
    duration = (axis[:, 1] - axis[:, 0]).clamp_(min=1)[window]
    if shares is None:
        return torch.div(since * num_bins, duration, rounding_mode="floor").clamp_(max=num_bins - 1)
    # Tensor over tensor, so that the division is the rounded one everywhere.
    return torch.bucketize(since.to(torch.float32) / duration.to(torch.float32), shares, right=True) - 1


def _places(batch: EventBatch) -> tuple[Tensor, Tensor]:
    # Each event's window and pixel, int64.
    numbers = torch.arange(len(batch), device=batch.device)
    # The stated size spares a wait for the device.
    window = torch.repeat_interleave(numbers, batch.offsets.diff(), output_size=len(batch.xy))
    xy = batch.xy.to(torch.int64)
    return window, ((xy >> 16) & 0xFFFF) * batch.width + (xy & 0xFFFF)


def _last_keys(batch: EventBatch, num_planes: int) -> Tensor:
    """Return (B, num_planes, H W) int32: 2 n + p of the last event, the window's n-th; -1 where there is none."""
    window, pixel = _places(batch)
    num_pixels = batch.height * batch.width
    number = torch.arange(len(batch.xy), device=batch.device) - batch.offsets[window]
    plane = window * num_planes + (batch.p if num_planes > 1 else 0)
    keys = torch.full((len(batch) * num_planes * num_pixels,), -1, dtype=torch.int32, device=batch.device)
    keys.scatter_reduce_(0, plane * num_pixels + pixel, (number * 2 + batch.p).to(torch.int32), "amax")
    return keys.view(len(batch), num_planes, num_pixels)


def _times(batch: EventBatch, keys: Tensor) -> Tensor:
    # (B, ...) int64 us from t0 of the events with these keys; some event's where there is none.
    first = batch.offsets[:-1].view(-1, *[1] * (keys.ndim - 1))
    event = torch.where(keys >= 0, first + (keys >> 1), 0)
    return batch.dt[event].to(torch.int64)
