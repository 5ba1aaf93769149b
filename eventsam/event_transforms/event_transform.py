"""What every event transform is, and the few things that several of them do."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eventsam.events import COLUMNS, Events, trusted

NEVER = -(1 << 62)
"""Time of a pixel that has not fired: before any that is, and far enough from int64's end to compare differences."""
LONGEST = 1 << 60
"""Longest duration in us that a filter takes (36,000 years)."""


class EventTransform(Protocol):
    """A change of one window's events, before they are represented.

    A transform returns new events and never writes into the ones it was given; columns that it does not change may be
    shared. Its result is a function of its fields, the events and, where it is random, the generator alone.
    """

    @property
    def geometric(self) -> bool:
        """True where the sensor's picture is mirrored, cut or rescaled: frames of the same sample no longer match."""

    @property
    def random(self) -> bool:
        """True where it draws from the generator: for training, never for evaluation."""

    def __call__(self, events: Events, rng: np.random.Generator) -> Events:
        """Return the transformed events; those that draw nothing also do without `rng`."""


def apply_transforms(transforms: Sequence[EventTransform], events: Events, rng: np.random.Generator) -> Events:
    """Apply transforms in order, each with a generator of its own spawned from `rng`.

    So what one transform draws (which depends on how many events there are) never shifts the draws of the next, and
    nothing is drawn from `rng` itself.
    """
    for transform, own in zip(transforms, rng.spawn(len(transforms)), strict=True):
        events = transform(events, own)
    return events


def select(events: Events, kept: NDArray[np.bool_]) -> Events:
    """Return the events where the mask (N,) is True."""
    # Numbers are found once; a mask would be searched again for each of the four columns.
    numbers = np.flatnonzero(kept)
    x, y, t, p = (getattr(events, name).take(numbers) for name in COLUMNS)
    return trusted(x, y, t, p, events.height, events.width)


def check_range(name: str, low: float, high: float, at_least: float, at_most: float) -> None:
    """Raise ValueError unless at_least <= low <= high <= at_most."""
    if not at_least <= low <= high <= at_most:
        raise ValueError(
            f"min_{name} is {low}, max_{name} is {high}; allowed: {at_least:g} <= min_{name} <= max_{name} <= "
            f"{at_most:g}"
        )


def check_duration(name: str, value: int) -> None:
    """Raise ValueError unless `value` is a whole number of microseconds, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= LONGEST:
        raise ValueError(f"{name} is {value!r}, allowed: an integer from 1 to {LONGEST} us")


def check_next(events: Events, size: tuple[int, int], end: int) -> None:
    """Raise ValueError unless events are of a sensor of this (height, width) and do not start before `end` us."""
    if (events.height, events.width) != size:
        raise ValueError(f"events of {events.height}x{events.width} pixels, the stream is of {size[0]}x{size[1]}")
    if len(events) and events.t[0] < end:
        raise ValueError(f"events start at {events.t[0]} us, before {end} us where the stream's last part ended")
