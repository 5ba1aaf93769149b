"""Leave out a random share of the events."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from eventsam.event_transforms.event_transform import check_range, select
from eventsam.events import Events


@dataclass(frozen=True)
class DropEvents:
    """Leave out a share of the events, each as likely as any other (EventDrop, Gu et al., IJCAI 2021, "random drop").

    The share is drawn uniformly from [min_share, max_share]; of N events round(share N) go.
    """

    min_share: float = 0.0
    max_share: float = 0.5
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse impossible shares."""
        check_range("share", self.min_share, self.max_share, 0, 1)

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the events that stay."""
        num_dropped = round(rng.uniform(self.min_share, self.max_share) * len(events))
        kept = np.ones(len(events), np.bool_)
        kept[rng.choice(len(events), num_dropped, replace=False, shuffle=False)] = False
        return select(events, kept)
