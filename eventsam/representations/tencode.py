"""Tencode: the last event at each pixel as a colour, polarity in red and blue, age in green."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events

Reference = Literal["window", "events"]
"""What the time axis is stretched between: the window's bounds, or its first and last event."""
Background = Literal["black", "white"]

NUM_LEVELS = 256
OFF_FLAG = 512
ON_STEP = 256
"""Scratch words: green level in the low byte, bit 8 set by a brighter event, bit 9 by a darker one, 0 untouched."""


@dataclass(frozen=True)
class Tencode:
    """Tencode image (3, H, W) uint8 of a window (EventPoint, arXiv 2109.00210; Depth AnyEvent, arXiv 2509.15224).

    At each pixel the last event in array order wins: R = 255 p, B = 255 (1 - p) and
    G = floor((t1 - t) * 255 / (t1 - t0) + 0.5), so the oldest event is the greenest. `reference` says what t0 and t1
    are: the window's bounds (the papers' form; equal ages look equal in every window) or the first and last event (the
    released code's form). Where t1 == t0 (one event, equal timestamps) G = 255. Untouched pixels are the background.
    """

    reference: Reference = "window"
    background: Background = "black"

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        for name, kind in (("reference", Reference), ("background", Background)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}, allowed: {', '.join(get_args(kind))}")

    @property
    def num_channels(self) -> int:
        """Red, green, blue."""
        return 3

    def __call__(self, events: Events, t0: int, t1: int) -> NDArray[np.uint8]:
        """Return uint8 (3, H, W) for the events with t in [t0, t1) us; raise ValueError for t1 < t0."""
        window = events.between(t0, t1)
        scratch = np.zeros(window.height * window.width, np.uint16)
        if len(window):
            start, end = (t0, t1) if self.reference == "window" else (int(window.t[0]), int(window.t[-1]))
            edges = level_edges(window.t, start, end)
            _scatter_levels(window.x, window.y, window.p, edges, np.uint64(window.width), scratch)
        # Allocated here, not in the kernel: numpy asks for huge pages where numba does not.
        image = np.empty((3, window.height * window.width), np.uint8)
        _expand(scratch, np.uint8(255 if self.background == "white" else 0), image[0], image[1], image[2])
        return image.reshape(3, window.height, window.width)

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return a copy of the image: it already is one for people."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"a Tencode image is uint8 (3, H, W), given {image.dtype} {image.shape}")
        return image.copy()


def level_edges(t: NDArray[np.int64], t0: int, t1: int) -> NDArray[np.int64]:
    """Return 257 event numbers: events from edges[k] up to edges[k + 1] have the green level 255 - k.

    t is sorted, so the level only falls with it and a binary search per level replaces a division per event. Level >= g
    means (t1 - t) * 255 / d + 0.5 >= g with d = t1 - t0, that is t <= t1 - ceil(d (2 g - 1) / 510): exact in integers.
    """
    duration = t1 - t0
    levels = np.arange(NUM_LEVELS - 1, 0, -1, dtype=np.int64)
    latest = t1 + (-(duration * (2 * levels - 1))) // 510
    edges = np.empty(NUM_LEVELS + 1, np.int64)
    edges[0] = 0
    edges[1:-1] = np.searchsorted(t, latest, side="right")
    edges[-1] = len(t)
    return edges


@compiled
def _scatter_levels(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
    edges: NDArray[np.int64],
    width: np.uint64,
    scratch: NDArray[np.uint16],
) -> None:
    # Slices with unsigned arithmetic spare the negative-index check; one packed store per event, not three.
    for k in range(NUM_LEVELS):
        first, end = edges[k], edges[k + 1]
        if first == end:
            continue
        xs, ys, ps = x[first:end], y[first:end], p[first:end]
        word = np.uint16((NUM_LEVELS - 1 - k) | OFF_FLAG)
        for i in range(xs.size):
            pixel = np.uint64(ys[i]) * width + np.uint64(xs[i])
            scratch[pixel] = word - np.uint16(ps[i]) * np.uint16(ON_STEP)


@compiled
def _expand(
    scratch: NDArray[np.uint16],
    background: np.uint8,
    red: NDArray[np.uint8],
    green: NDArray[np.uint8],
    blue: NDArray[np.uint8],
) -> None:
    for i in range(scratch.size):
        word = scratch[i]
        red[i] = background if word == 0 else np.uint8(((word >> 8) & 1) * 255)
    for i in range(scratch.size):
        word = scratch[i]
        green[i] = background if word == 0 else np.uint8(word & 255)
    for i in range(scratch.size):
        word = scratch[i]
        blue[i] = background if word == 0 else np.uint8((word >> 9) * 255)
