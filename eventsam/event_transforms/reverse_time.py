"""Play the events backwards."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eventsam.events import Events, trusted
from eventsam.transforms.transform import check_share


@dataclass(frozen=True)
class ReverseTime:
    """Reverse the events within their span, with the given probability; twice gives the same events back.

    t becomes t_first + t_last - t, the order turns round, and brighter becomes darker: a pixel that brightened dims
    when the scene runs backwards.
    """

    probability: float = 0.5
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse impossible probabilities."""
        check_share("probability", self.probability)

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the reversed events, or the same ones when the draw says so."""
        if rng.random() >= self.probability or not len(events):
            return events
        t = (events.t[0] + events.t[-1]) - events.t[::-1]
        p = np.uint8(1) - events.p[::-1]
        return trusted(events.x[::-1], events.y[::-1], t, p, events.height, events.width)
