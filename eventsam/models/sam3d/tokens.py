"""The condition as tokens, and which of them belong to what."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from eventsam.unknown_name import unknown_name

GROUPS = ("image", "rgb_image", "mask", "rgb_image_mask", "pointmap", "rgb_pointmap")
"""Token groups of the released condition, in order: each entry's crop, then its full frame."""

EVENT_GROUPS = ("event", "event_full")
"""Token groups behind them where there is an event entry."""


@dataclass(frozen=True)
class Condition:
    """Tokens (B, N, D) with where each group lies in them; `has_events` (B,) bool, None where no events were given."""

    tokens: Tensor
    groups: Mapping[str, slice]
    has_events: Tensor | None = None

    def group(self, name: str) -> Tensor:
        """Return one group's tokens; raise KeyError for a group that is not there."""
        if name not in self.groups:
            raise KeyError(unknown_name("token group", name, self.groups))
        return self.tokens[:, self.groups[name]]

    @property
    def released(self) -> Tensor:
        """The tokens that the generator reads: all but the events', 7528 of them in the released model."""
        return self.tokens[:, : self.groups[GROUPS[-1]].stop]

    @property
    def events(self) -> Tensor:
        """The event tokens, crop then full frame; raises KeyError where there are none."""
        return torch.cat([self.group(name) for name in EVENT_GROUPS], dim=1)

    @property
    def num_image_tokens(self) -> int:
        """How many of the first tokens are the images', crop and full."""
        return int(self.groups["rgb_image"].stop)


def joined(groups: Mapping[str, Tensor], has_events: Tensor | None) -> Condition:
    """Concatenate groups of tokens (B, N, D) in their order."""
    places, start = {}, 0
    for name, tokens in groups.items():
        places[name] = slice(start, start + tokens.shape[1])
        start += tokens.shape[1]
    return Condition(torch.cat(list(groups.values()), dim=1), places, has_events)
