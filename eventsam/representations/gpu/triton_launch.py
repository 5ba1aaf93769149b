"""The functions of torch_kernels.py as launches of the Triton kernels."""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from eventsam.representations.gpu import triton_kernels as kernels
from eventsam.representations.gpu.batch import EventBatch
from eventsam.representations.gpu.surface_tables import SurfaceTables

BLOCK = 1024
"""Events or pixels of one program: eight per thread of four warps."""
OPTIONS = {"BLOCK": BLOCK, "enable_fp_fusion": False}
"""For every launch. A fused multiply-add rounds once where the CPU rounds twice, and Triton's default changes."""


def tencode(batch: EventBatch, axis: Tensor, background: int, image: Tensor) -> None:
    """Fill the Tencode image (B, 3, H W) uint8."""
    keys = _last_keys(batch, num_planes=1)
    num_pixels, num_blocks = image.shape[2], _blocks(image.shape[2])
    with _on(batch):
        kernels.paint_tencode[(len(batch) * num_blocks,)](
            keys, batch.dt, batch.offsets, axis, image, num_pixels, num_blocks, BACKGROUND=background, **OPTIONS
        )


def histogram(
    batch: EventBatch, axis: Tensor, num_bins: int, shares: Tensor | None, cutoff: int, wrapping: bool, image: Tensor
) -> None:
    """Fill the counts (B, 2 K, H W) uint8, channel p K + b; without `shares` the bins are equal, exactly."""
    counts = _counts(batch, axis, num_bins, shares, signed=False)
    with _on(batch):
        kernels.clip_counts[(_blocks(image.numel()),)](
            counts, image, image.numel(), cutoff, WRAPPING=wrapping, **OPTIONS
        )


def mixed_density(
    batch: EventBatch, axis: Tensor, shares: Tensor, bounds: tuple[int, int], wrapping: bool, image: Tensor
) -> None:
    """Fill the sums (B, K, H W) int8 of 2 p - 1 over each bin and the earlier ones, kept between two bounds."""
    num_bins, num_pixels = image.shape[1:]
    sums = _counts(batch, axis, num_bins, shares, signed=True)
    num_blocks = _blocks(num_pixels)
    with _on(batch):
        kernels.stack_sums[(len(batch) * num_blocks,)](
            sums, image, num_pixels, num_blocks, *bounds, NUM_BINS=num_bins, WRAPPING=wrapping, **OPTIONS
        )


def voxel_grid(batch: EventBatch, axis: Tensor, image: Tensor) -> None:
    """Fill the voxels (B, K, H W) float32 from sums of whole numbers."""
    num_bins, num_pixels = image.shape[1:]
    sums = torch.zeros(image.shape, dtype=torch.int64, device=batch.device)
    num_blocks, field = _event_blocks(batch), _age_bits(batch)
    packed = field is not None
    field = field or 0
    with _on(batch):
        if num_blocks:
            kernels.scatter_voxels[(len(batch) * num_blocks,)](
                batch.xy, batch.p, batch.dt, batch.offsets, axis, sums, batch.width, num_pixels, num_blocks,
                1 << field, NUM_BINS=num_bins, PACKED=packed, **OPTIONS,
            )  # fmt: skip
        num_blocks = _blocks(num_pixels)
        kernels.divide_voxels[(len(batch) * num_blocks,)](
            sums, axis, image, num_pixels, num_blocks, field, NUM_BINS=num_bins, PACKED=packed, **OPTIONS
        )


def time_surface(batch: EventBatch, axis: Tensor, tables: SurfaceTables, image: Tensor) -> None:
    """Fill the decays (B, 2, H W) float32 of each polarity's last event."""
    keys = _last_keys(batch, num_planes=2)
    num_pixels, num_blocks = image.shape[2], _blocks(image.shape[2])
    with _on(batch):
        kernels.paint_surface[(2 * len(batch) * num_blocks,)](
            keys, batch.dt, batch.offsets, axis, tables.coarse, tables.fine, image, num_pixels, num_blocks,
            tables.oldest_us, tables.shift, tables.rounding, tables.fine_bits, **OPTIONS,
        )  # fmt: skip


def _age_bits(batch: EventBatch) -> int | None:
    """Return how many low bits of a word hold any sum of a window's ages, sign included; None where none do.

    The bits above must hold its events' signed count. All windows of a batch share the answer, and it changes no
    result: the sums are exact either way.
    """
    num_events = _most_events(batch)
    age_bits = (num_events * int((batch.bounds.t1 - batch.bounds.t0).max(initial=1))).bit_length() + 1
    return age_bits if age_bits + num_events.bit_length() + 1 <= 64 else None


def _counts(batch: EventBatch, axis: Tensor, num_bins: int, shares: Tensor | None, signed: bool) -> Tensor:
    """Return int32 (B, K, H W), the sum of 2 p - 1, or (B, 2 K, H W), the counts per polarity."""
    num_pixels = batch.height * batch.width
    num_planes = num_bins if signed else 2 * num_bins
    counts = torch.zeros((len(batch), num_planes, num_pixels), dtype=torch.int32, device=batch.device)
    num_blocks = _event_blocks(batch)
    if num_blocks:
        with _on(batch):
            kernels.scatter_counts[(len(batch) * num_blocks,)](
                batch.xy, batch.p, batch.dt, batch.offsets, axis, shares, counts, batch.width, num_pixels, num_blocks,
                NUM_BINS=num_bins, SIGNED=signed, **OPTIONS,
            )  # fmt: skip
    return counts


def _last_keys(batch: EventBatch, num_planes: int) -> Tensor:
    """Return (B, num_planes, H W) int32: 2 n + p of the last event, the window's n-th; -1 where there is none."""
    num_pixels = batch.height * batch.width
    keys = torch.full((len(batch), num_planes, num_pixels), -1, dtype=torch.int32, device=batch.device)
    num_blocks = _event_blocks(batch)
    if num_blocks:
        with _on(batch):
            kernels.scatter_last[(len(batch) * num_blocks,)](
                batch.xy, batch.p, batch.offsets, keys, batch.width, num_pixels, num_blocks,
                PER_POLARITY=num_planes > 1, **OPTIONS,
            )  # fmt: skip
    return keys


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _most_events(batch: EventBatch) -> int:
    return int(np.diff(batch.bounds.offsets).max())


def _event_blocks(batch: EventBatch) -> int:
    # Programs for the longest window; those past a shorter window's end find nothing to do and leave.
    return _blocks(_most_events(batch))


def _on(batch: EventBatch) -> AbstractContextManager[object]:
    # Triton launches on the current device, whichever the tensors lie on.
    return torch.cuda.device(batch.device) if batch.device.type == "cuda" else nullcontext()
