"""Leave out the events of a span of time."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eventsam.event_transforms.event_transform import check_range, select
from eventsam.events import Events


@dataclass(frozen=True)
class DropTimeSpan:
    """Leave out every event of a random span of time (EventDrop, Gu et al., IJCAI 2021, "drop by time").

    The span is a share, drawn uniformly from [min_share, max_share], of the time from the first event to the last (that
    microsecond included), and lies within it, anywhere with equal probability.
    """

    min_share: float = 0.0
    max_share: float = 0.5
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse impossible shares."""
        check_range("share", self.min_share, self.max_share, 0, 1)

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the events before and after the span."""
        share, place = rng.uniform(self.min_share, self.max_share), rng.random()
        if not len(events):
            return events
        whole = int(events.t[-1]) - int(events.t[0]) + 1
        length = round(share * whole)
        start = int(events.t[0]) + int(place * (whole - length + 1))
        kept = np.ones(len(events), np.bool_)
        kept[slice(*np.searchsorted(events.t, np.array([start, start + length], np.int64)))] = False
        return select(events, kept)
