"""What all representations share: the array is made or checked here, each representation draws into it."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.representations import Cost

BYTES_PER_PIXEL_AND_POLARITY = 5
"""The columns x, y (uint16) and p (uint8) of one event; the time column adds 8 where it is read per event."""
BYTES_PER_EVENT = 13


class WindowImage(ABC):
    """Base of the representations: a subclass says its channels and its type, and draws.

    Where `starts_from_zero` the array handed to `_draw` holds zeros, else anything.
    """

    dtype: ClassVar[np.dtype[Any]]

    @property
    @abstractmethod
    def num_channels(self) -> int:
        """C of the arrays returned."""

    @property
    def starts_from_zero(self) -> bool:
        """Whether `_draw` adds to zeros; False where it writes every element itself."""
        return True

    def __call__(self, events: Events, t0: int, t1: int) -> NDArray[Any]:
        """Return a new (C, H, W) array for the events with t in [t0, t1) us; raise ValueError for t1 < t0."""
        window = self._select(events, t0, t1)
        # Made by numpy, not in the kernel: it asks for huge pages, and zeros come from the system for free.
        make = np.zeros if self.starts_from_zero else np.empty
        image = make((self.num_channels, events.height, events.width), self.dtype)
        self._draw(window, int(t0), int(t1), image)
        return image

    def into(self, events: Events, t0: int, t1: int, out: NDArray[Any]) -> None:
        """Write what `__call__` returns into `out`, whatever it holds.

        Raises:
            ValueError: t1 < t0, or `out` is not a writeable C-contiguous (C, H, W) array of `dtype`.
        """
        window = self._select(events, t0, t1)
        check_output(out, (self.num_channels, events.height, events.width), self.dtype)
        if self.starts_from_zero:
            out.fill(0)
        self._draw(window, int(t0), int(t1), out)

    @abstractmethod
    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return an image of `__call__` as uint8 (3, H, W) for people."""

    @abstractmethod
    def cost(self, num_events: int, height: int, width: int) -> Cost:
        """Return what a window of so many events on a sensor of so many pixels costs."""

    def _select(self, events: Events, t0: int, t1: int) -> Events:
        """Return the events of the window, as views."""
        return select(events, t0, t1)

    @abstractmethod
    def _draw(self, window: Events, t0: int, t1: int, image: NDArray[Any]) -> None:
        """Draw the selected events into a C-contiguous (C, H, W) array."""

    def _check_image(self, image: NDArray[Any], name: str) -> None:
        if image.ndim != 3 or image.shape[0] != self.num_channels:
            raise ValueError(f"{name} is ({self.num_channels}, H, W), given {image.shape}")


def select(events: Events, t0: int, t1: int) -> Events:
    """Return the events with t in [t0, t1) us; raise ValueError for t1 < t0."""
    # Most callers have cut the window out already: then the search and four views would double a small window's cost.
    if len(events) and t0 <= events.t[0] and events.t[-1] < t1:
        return events
    return events.between(t0, t1)


def check_output(out: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ValueError where an output array is not what a kernel can write to: shape, dtype, layout, writeable."""
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out is {out.dtype} {out.shape}, expected {dtype} {shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out must be C-contiguous and writeable, given strides {out.strides} of {shape} {dtype}")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise ValueError where a named choice is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, allowed: {', '.join(allowed)}")


def check_count(name: str, value: object, lowest: int, highest: int | None = None) -> None:
    """Raise ValueError where a number is no integer from `lowest` to `highest`."""
    fits = isinstance(value, int) and not isinstance(value, bool) and lowest <= value
    if not fits or (highest is not None and isinstance(value, int) and value > highest):
        allowed = f"an integer of {lowest} or more" if highest is None else f"an integer from {lowest} to {highest}"
        raise ValueError(f"{name} is {value!r}, allowed: {allowed}")
