"""Move every event a little in time."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eventsam.events import Events, trusted


@dataclass(frozen=True)
class JitterTime:
    """Add normal noise of standard deviation `sigma_us`, rounded to whole microseconds, to each time.

    Events are sorted again, stably: those that end up at one time keep their order. Some leave the window's span on
    either side; a representation of that window leaves them out.
    """

    sigma_us: float
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse spreads that are negative or not finite."""
        if not (np.isfinite(self.sigma_us) and self.sigma_us >= 0):
            raise ValueError(f"sigma_us is {self.sigma_us}, allowed: finite, 0 or more")

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the events at their new times, in time order."""
        t = events.t + np.rint(rng.normal(0.0, self.sigma_us, len(events))).astype(np.int64)
        order = np.argsort(t, kind="stable")
        return trusted(events.x[order], events.y[order], t[order], events.p[order], events.height, events.width)
