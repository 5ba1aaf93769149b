"""Tencode: the last event at each pixel as a colour, polarity in red and blue, age in green."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events
from eventsam.representations import Cost
from eventsam.representations.pixels import pixel_of
from eventsam.representations.scratch import borrow_zeros
from eventsam.representations.time_bins import first_at
from eventsam.representations.window_image import BYTES_PER_PIXEL_AND_POLARITY, WindowImage, check_choice

Reference = Literal["window", "events"]
"""What the time axis is stretched between: the window's bounds, or its first and last event."""
Background = Literal["black", "white"]

NUM_LEVELS = 256
TILE = 4096
"""Pixels expanded at a time: their scratch words stay in the first cache level for three passes and the clearing."""


@dataclass(frozen=True)
class Tencode(WindowImage):
    """Tencode image (3, H, W) uint8 of a window (EventPoint, arXiv 2109.00210; Depth AnyEvent, arXiv 2509.15224).

    At each pixel the last event in array order wins: R = 255 p, B = 255 (1 - p) and
    G = floor((t1 - t) * 255 / (t1 - t0) + 0.5), so the oldest event is the greenest. `reference` says what t0 and t1
    are: the window's bounds (the papers' form; equal ages look equal in every window) or the first and last event (the
    released code's form). Where t1 == t0 (one event, equal timestamps) G = 255. Untouched pixels are the background.
    """

    reference: Reference = "window"
    background: Background = "black"

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.uint8)

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        check_choice("reference", self.reference, get_args(Reference))
        check_choice("background", self.background, get_args(Background))

    @property
    def num_channels(self) -> int:
        """Red, green, blue."""
        return 3

    @property
    def starts_from_zero(self) -> bool:
        """No: every pixel is written."""
        return False

    def to_rgb(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return a copy of the image: it already is one for people."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"a Tencode image is uint8 (3, H, W), given {image.dtype} {image.shape}")
        return image.copy()

    def cost(self, num_events: int, height: int, width: int) -> Cost:
        """Return the cost: x, y, p of each event, three bytes per pixel out, two of scratch."""
        pixels = height * width
        return Cost(num_events * BYTES_PER_PIXEL_AND_POLARITY, 3 * pixels, 2 * pixels)

    def _draw(self, window: Events, t0: int, t1: int, image: NDArray[Any]) -> None:
        if self.reference == "events" and len(window):
            t0, t1 = int(window.t[0]), int(window.t[-1])
        _draw_tencode(
            window.x,
            window.y,
            window.t,
            window.p,
            t0,
            t1,
            self.background == "white",
            np.uint32(window.width),
            borrow_zeros(window.height * window.width, np.uint16),
            image.reshape(3, -1),
        )


def level_edges(t: NDArray[np.int64], t0: int, t1: int) -> NDArray[np.int64]:
    """Return 257 event numbers: events from edges[k] up to edges[k + 1] have the green level 255 - k."""
    edges = np.full(NUM_LEVELS + 1, len(t), np.int64)
    edges[0] = 0
    for k in range(NUM_LEVELS - 1):
        edges[k + 1] = first_at(t, _level_end(k, t1, t1 - t0), edges[k])
    return edges


@compiled
def _level_end(k: int, t1: int, duration: int) -> int:
    """Return the first time whose green level is below g = 255 - k.

    Level >= g means (t1 - t) * 255 / d + 0.5 >= g with d = t1 - t0, that is t <= t1 - ceil(d (2 g - 1) / 510): exact in
    integers. t is sorted, so a search per level replaces a division per event.
    """
    return t1 + (-(duration * (2 * (NUM_LEVELS - 1 - k) - 1))) // 510 + 1


@compiled
def _draw_tencode(
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
    t0: int,
    t1: int,
    white: bool,
    width: np.uint32,
    scratch: NDArray[np.uint16],
    image: NDArray[np.uint8],
) -> None:
    # Scratch words: green level in the low byte, bit 8 set by a brighter event, bit 9 by a darker one; one packed store
    # per event, not three. On white all ten bits are inverted, so that the untouched 0 expands to 255 everywhere.
    inverted = np.uint16(0x3FF) if white else np.uint16(0)
    on_step = np.uint16(0x100) if white else np.uint16(0xFF00)
    first = 0
    for k in range(NUM_LEVELS):
        end = t.size if k == NUM_LEVELS - 1 else first_at(t, _level_end(k, t1, t1 - t0), first)
        # Slices with unsigned arithmetic spare the negative-index check.
        xs, ys, ps = x[first:end], y[first:end], p[first:end]
        off = np.uint16((NUM_LEVELS - 1 - k) | 0x200) ^ inverted
        for i in range(xs.size):
            scratch[pixel_of(xs[i], ys[i], width)] = off + np.uint16(ps[i]) * on_step
        first = end
        if first == t.size:
            break
    _expand(scratch, inverted, image)


@compiled
def _expand(scratch: NDArray[np.uint16], inverted: np.uint16, image: NDArray[np.uint8]) -> None:
    """Turn the words into three planes, and back to zero."""
    for start in range(0, scratch.size, TILE):
        end = min(start + TILE, scratch.size)
        words, red, green, blue = scratch[start:end], image[0, start:end], image[1, start:end], image[2, start:end]
        for i in range(words.size):
            red[i] = np.uint8((((words[i] ^ inverted) >> 8) & 1) * 255)
        for i in range(words.size):
            green[i] = np.uint8((words[i] ^ inverted) & 255)
        for i in range(words.size):
            blue[i] = np.uint8((((words[i] ^ inverted) >> 9) & 1) * 255)
        words[:] = 0
