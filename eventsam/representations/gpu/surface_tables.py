"""The decay tables of the time surface on a device."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from eventsam.representations.time_surface import decay_tables


@dataclass(frozen=True, eq=False)
class SurfaceTables:
    """`DecayTables` with `coarse` and `fine` as float32 tensors: the same entries, so the same bits."""

    shift: int
    rounding: int
    fine_bits: int
    oldest_us: int
    coarse: Tensor
    fine: Tensor


@lru_cache(maxsize=16)
def surface_tables(tau_ms: float, device: torch.device) -> SurfaceTables:
    """Return the tables of a time constant, copied to the device once."""
    tables = decay_tables(tau_ms)
    coarse, fine = (torch.from_numpy(table.copy()).to(device) for table in (tables.coarse, tables.fine))
    return SurfaceTables(tables.shift, tables.rounding, tables.fine_bits, tables.oldest_us, coarse, fine)
