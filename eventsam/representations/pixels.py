"""Where an event's pixel lies in a plane: the one index computation of every kernel."""

import numpy as np

from eventsam.compiled import compiled


@compiled
def pixel_of(x: np.uint16, y: np.uint16, width: np.uint32) -> np.uint64:
    """Return y * width + x.

    Computed in 32 unsigned bits, which hold any pixel of a sensor with uint16 coordinates: a faster product than in 64,
    and no check for negative indices.
    """
    return np.uint64(np.uint32(np.uint32(y) * width) + np.uint32(x))
