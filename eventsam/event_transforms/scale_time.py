"""Play the events faster or slower."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eventsam.event_transforms.event_transform import check_range
from eventsam.events import Events, trusted


@dataclass(frozen=True)
class ScaleTime:
    """Stretch the times about the middle of the events' span by a factor drawn from [min_factor, max_factor].

    The draw is uniform in the logarithm: twice as fast is as likely as twice as slow. Below 1 the events are squeezed
    together and the window's ends stay empty unless more was read around it (`Data.events_margin_ms`); above 1 they
    spread and a representation of the window leaves out those that left it.
    """

    min_factor: float = 0.5
    max_factor: float = 2.0
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse factors that are not positive and finite."""
        check_range("factor", self.min_factor, self.max_factor, 1e-6, 1e6)

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the events at their new times (whole microseconds; their order stays)."""
        factor = float(np.exp(rng.uniform(np.log(self.min_factor), np.log(self.max_factor))))
        if not len(events):
            return events
        middle = (int(events.t[0]) + int(events.t[-1])) // 2
        t = middle + np.rint((events.t - middle) * factor).astype(np.int64)
        return trusted(events.x, events.y, t, events.p, events.height, events.width)
