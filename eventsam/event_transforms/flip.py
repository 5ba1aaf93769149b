"""Mirror the sensor left to right or top to bottom."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from eventsam.events import Events, trusted
from eventsam.transforms.transform import check_share

Direction = Literal["horizontal", "vertical"]
"""Left to right (x becomes width - 1 - x), or top to bottom (y becomes height - 1 - y)."""


@dataclass(frozen=True)
class FlipEvents:
    """Mirror the events with the given probability; twice gives the same events back.

    Geometric: frames, masks and points of the sample are not mirrored with them. Where a sample has those, mirror all
    of it with `eventsam.transforms.HorizontalFlip`.
    """

    direction: Direction = "horizontal"
    probability: float = 0.5
    geometric: ClassVar[bool] = True
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse unknown directions and impossible probabilities."""
        if self.direction not in get_args(Direction):
            raise ValueError(f"direction is {self.direction!r}, allowed: {', '.join(get_args(Direction))}")
        check_share("probability", self.probability)

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the mirrored events, or the same ones when the draw says so."""
        if rng.random() >= self.probability:
            return events
        if self.direction == "horizontal":
            return events.flip_horizontal()
        y = np.uint16(events.height - 1) - events.y
        return trusted(events.x, y, events.t, events.p, events.height, events.width)
