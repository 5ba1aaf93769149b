"""Leave out the events of a box of the sensor."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eventsam.event_transforms.event_transform import check_range, select
from eventsam.events import Events


@dataclass(frozen=True)
class DropArea:
    """Leave out every event inside a box at a random place (EventDrop, Gu et al., IJCAI 2021, "drop by area").

    The box has the sensor's aspect ratio and a share of its area drawn uniformly from [min_share, max_share]; it lies
    inside the sensor, anywhere with equal probability.
    """

    min_share: float = 0.0
    max_share: float = 0.25
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse impossible shares."""
        check_range("share", self.min_share, self.max_share, 0, 1)

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the events outside the box."""
        side = np.sqrt(rng.uniform(self.min_share, self.max_share))
        height, width = round(side * events.height), round(side * events.width)
        top = int(rng.integers(events.height - height + 1))
        left = int(rng.integers(events.width - width + 1))
        rows = (events.y >= top) & (events.y < top + height)
        return select(events, ~(rows & (events.x >= left) & (events.x < left + width)))
