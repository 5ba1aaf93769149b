"""Draw a batch of windows on its device: which representation goes to which kernels."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventsam.representations import Representation
from eventsam.representations.blank import Blank
from eventsam.representations.gpu import torch_kernels, triton_launch
from eventsam.representations.gpu.batch import EventBatch
from eventsam.representations.gpu.normalize import normalize_nonzero
from eventsam.representations.gpu.optional_triton import HAS_TRITON, INTERPRETED
from eventsam.representations.gpu.surface_tables import SurfaceTables, surface_tables
from eventsam.representations.histogram import MAX_COUNT, Histogram
from eventsam.representations.mixed_density import MAX_SUM, MixedDensity, log_shares
from eventsam.representations.polarity_histogram import PolarityHistogram
from eventsam.representations.tencode import Reference, Tencode
from eventsam.representations.time_bins import even_shares
from eventsam.representations.time_surface import TimeSurface
from eventsam.representations.voxel_grid import VoxelGrid
from eventsam.unknown_name import unknown_name

Backend = Literal["triton", "torch"]
"""Compiled kernels, for CUDA (or Triton's interpreter), or plain torch, which runs anywhere."""

SCRATCH_BYTES = 1 << 30
"""Working memory that a call may take, roughly; a batch that needs more is drawn some windows at a time."""
SCRATCH_BYTES_PER_VALUE = 8
SCRATCH_BYTES_PER_EVENT = 64
"""What the torch kernels take: some columns of 64-bit places per event. Triton's take none."""


class Kernels(Protocol):
    """What both backends offer: fill `image`, C-contiguous (B, C, H W), for the batch.

    `axis` (B, 2) int64: where each window's time axis starts and ends, in us from its t0.
    """

    def tencode(self, batch: EventBatch, axis: Tensor, background: int, image: Tensor) -> None:
        """Last event per pixel as a colour."""

    def histogram(
        self, batch: EventBatch, axis: Tensor, num_bins: int, shares: Tensor | None, cutoff: int, wrapping: bool,
        image: Tensor,
    ) -> None:  # fmt: skip
        """Counts per polarity and bin of time."""

    def mixed_density(
        self, batch: EventBatch, axis: Tensor, shares: Tensor, bounds: tuple[int, int], wrapping: bool, image: Tensor
    ) -> None:
        """Signed counts up to each bin of time."""

    def voxel_grid(self, batch: EventBatch, axis: Tensor, image: Tensor) -> None:
        """Exact voxels."""

    def time_surface(self, batch: EventBatch, axis: Tensor, tables: SurfaceTables, image: Tensor) -> None:
        """Decay since the last event per polarity."""


def represent(representation: Representation, batch: EventBatch, backend: Backend | None = None) -> Tensor:
    """Return (B, C, H, W) of the representation's dtype on the batch's device: the bits that it draws on the CPU.

    Served are Tencode, Histogram, PolarityHistogram, VoxelGrid(exact=True), TimeSurface, MixedDensity and Blank. All
    sums and choices are of integers and free of order, so nothing depends on how the device schedules them. One
    exception to the equal bits: VoxelGrid(normalize=True) takes mean and deviation from float64 sums in another order
    than the CPU's, so a value may differ in its last bits; on one device it is the same in every call.

    `backend` None is Triton where the batch lies on CUDA and Triton is installed, else torch.

    Raises:
        KeyError: a representation that is not served, named with those that are.
        ValueError: VoxelGrid(exact=False), whose float sums have no order-free form; a batch packed with other `ends`
            than the representation counts; an unknown backend, or Triton where it cannot run.
    """
    name = type(representation).__name__
    if type(representation) not in _DRAWINGS:
        raise KeyError(unknown_name("representation on the GPU", name, (kind.__name__ for kind in _DRAWINGS)))
    ends = getattr(representation, "ends", "half_open")
    if batch.ends != ends:
        raise ValueError(f"{name} counts the events of {ends} windows, the batch was packed with ends={batch.ends!r}")
    kernels, draw = _kernels(backend, batch), _DRAWINGS[type(representation)]
    dtype = torch.from_numpy(np.empty(0, representation.dtype)).dtype
    shape = (len(batch), representation.num_channels, batch.height * batch.width)
    image = torch.empty(shape, dtype=dtype, device=batch.device)
    step = _windows_at_a_time(batch, representation.num_channels, per_event=kernels is torch_kernels)
    for first in range(0, len(batch), step):
        end = min(first + step, len(batch))
        draw(kernels, representation, batch if step >= len(batch) else batch.narrow(first, end), image[first:end])
    return image.view(*shape[:2], batch.height, batch.width)


def _kernels(backend: Backend | None, batch: EventBatch) -> Kernels:
    if backend is None:
        backend = "triton" if HAS_TRITON and batch.device.type == "cuda" else "torch"
    if backend not in get_args(Backend):
        raise ValueError(unknown_name("backend", backend, get_args(Backend)))
    if backend == "torch":
        return torch_kernels
    if not HAS_TRITON:
        raise ValueError("backend 'triton' needs Triton, which is not installed; allowed here: torch")
    if batch.device.type != "cuda" and not INTERPRETED:
        raise ValueError(f"backend 'triton' needs a batch on CUDA, this one lies on {batch.device}; allowed: torch")
    return triton_launch


def _windows_at_a_time(batch: EventBatch, num_channels: int, per_event: bool) -> int:
    scratch = num_channels * batch.height * batch.width * SCRATCH_BYTES_PER_VALUE
    if per_event:
        scratch += len(batch.xy) // len(batch) * SCRATCH_BYTES_PER_EVENT
    return max(1, SCRATCH_BYTES // scratch)


def _axis(batch: EventBatch, reference: Reference) -> Tensor:
    """Return (B, 2) int64 on the device: start and end of each window's time axis, in us from its t0."""
    bounds = batch.bounds
    start, end = (bounds.t0, bounds.t1) if reference == "window" else (bounds.first, bounds.last)
    return _copied(np.stack([start - bounds.t0, end - bounds.t0], axis=1), batch.device)


def _copied(array: NDArray[Any], device: torch.device) -> Tensor:
    # Pinned, so that the copy waits for nothing that the device still has to do.
    values = torch.from_numpy(array)
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@lru_cache(maxsize=64)
def _even_shares(num_bins: int, device: torch.device) -> Tensor:
    return torch.from_numpy(even_shares(num_bins).copy()).to(device)


@lru_cache(maxsize=64)
def _log_shares(num_bins: int, device: torch.device) -> Tensor:
    return torch.from_numpy(log_shares(num_bins).copy()).to(device)


def _draw_tencode(kernels: Kernels, choice: Tencode, batch: EventBatch, image: Tensor) -> None:
    kernels.tencode(batch, _axis(batch, choice.reference), 255 if choice.background == "white" else 0, image)


def _draw_histogram(kernels: Kernels, choice: Histogram, batch: EventBatch, image: Tensor) -> None:
    cutoff = MAX_COUNT if choice.count_cutoff is None else choice.count_cutoff
    shares = _even_shares(choice.num_bins, batch.device) if choice.reference == "events" else None
    axis = _axis(batch, choice.reference)
    kernels.histogram(batch, axis, choice.num_bins, shares, cutoff, choice.wrapping, image)


def _draw_polarity_histogram(kernels: Kernels, choice: PolarityHistogram, batch: EventBatch, image: Tensor) -> None:
    kernels.histogram(batch, _axis(batch, "window"), 1, None, choice.count_cutoff, False, image)


def _draw_mixed_density(kernels: Kernels, choice: MixedDensity, batch: EventBatch, image: Tensor) -> None:
    highest = MAX_SUM if choice.count_cutoff is None else choice.count_cutoff
    lowest = -MAX_SUM - 1 if choice.count_cutoff is None and choice.wrapping else -highest
    shares = _log_shares(choice.num_bins, batch.device)
    kernels.mixed_density(batch, _axis(batch, "events"), shares, (lowest, highest), choice.wrapping, image)


def _draw_voxel_grid(kernels: Kernels, choice: VoxelGrid, batch: EventBatch, image: Tensor) -> None:
    if not choice.exact:
        raise ValueError(
            "VoxelGrid(exact=False) adds floats in the order of the events, which a GPU does not keep: use "
            "VoxelGrid(exact=True) on both sides"
        )
    kernels.voxel_grid(batch, _axis(batch, choice.reference), image)
    if choice.normalize:
        normalize_nonzero(image)


def _draw_time_surface(kernels: Kernels, choice: TimeSurface, batch: EventBatch, image: Tensor) -> None:
    tables = surface_tables(choice.tau_ms, batch.device)
    kernels.time_surface(batch, _axis(batch, choice.reference), tables, image)


def _draw_blank(kernels: Kernels, choice: Blank, batch: EventBatch, image: Tensor) -> None:
    image.zero_()


_DRAWINGS: Mapping[type, Callable[[Kernels, Any, EventBatch, Tensor], None]] = {
    Tencode: _draw_tencode,
    Histogram: _draw_histogram,
    PolarityHistogram: _draw_polarity_histogram,
    VoxelGrid: _draw_voxel_grid,
    TimeSurface: _draw_time_surface,
    MixedDensity: _draw_mixed_density,
    Blank: _draw_blank,
}
