"""Polarity taken away or exchanged: events of one sign left out, brighter and darker swapped."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from eventsam.event_transforms.event_transform import select
from eventsam.events import Events, trusted
from eventsam.transforms.transform import check_share

Polarity = Literal["on", "off"]
"""Brighter (p = 1) or darker (p = 0) events."""


@dataclass(frozen=True)
class DropPolarity:
    """Leave out the events of one polarity, with the given probability."""

    polarity: Polarity
    probability: float = 0.5
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse unknown polarities and impossible probabilities."""
        if self.polarity not in get_args(Polarity):
            raise ValueError(f"polarity is {self.polarity!r}, allowed: {', '.join(get_args(Polarity))}")
        check_share("probability", self.probability)

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the events of the other polarity, or the same events when the draw says so."""
        if rng.random() >= self.probability:
            return events
        return select(events, events.p == (0 if self.polarity == "on" else 1))


@dataclass(frozen=True)
class FlipPolarity:
    """With the given probability, swap brighter and darker in a random `share` of the events (default: in all).

    Swapping all shows the scene's negative moving the same way; swapping a few is noise.
    """

    probability: float = 0.5
    share: float = 1.0
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse impossible probabilities and shares."""
        check_share("probability", self.probability)
        check_share("share", self.share)

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the events with swapped polarities, or the same ones when the draw says so."""
        if rng.random() >= self.probability:
            return events
        swapped = rng.random(len(events)) < self.share
        return trusted(events.x, events.y, events.t, events.p ^ swapped.view(np.uint8), events.height, events.width)
