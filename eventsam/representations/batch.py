"""Many windows to one array: each window drawn by one thread, any number of threads, the same bits."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.representations import Representation
from eventsam.representations.window_image import check_count, check_output

Window = tuple[Events, int, int]
"""Events and the bounds t0, t1 in us of the window [t0, t1) to draw of them."""


def represent_batch(
    representation: Representation, windows: Sequence[Window], num_threads: int = 1, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Return (B, C, H, W): the representation of each window, drawn straight into its place.

    The kernels release the interpreter lock, so threads share the windows out; each window is drawn by one thread
    alone, which makes the result independent of their number. `out` is written to and returned where given.

    Raises:
        ValueError: there is no window, sensors differ in size, num_threads is below 1, `out` does not fit, or a window
            cannot be drawn (the message names its number).
    """
    check_count("num_threads", num_threads, 1)
    if not windows:
        raise ValueError("no windows to represent: give at least one (events, t0, t1)")
    height, width = windows[0][0].height, windows[0][0].width
    for i, (events, _, _) in enumerate(windows):
        if (events.height, events.width) != (height, width):
            raise ValueError(f"window {i} has sensor {events.height}x{events.width}, window 0 has {height}x{width}")
    shape = (len(windows), representation.num_channels, height, width)
    if out is None:
        out = np.empty(shape, representation.dtype)
    check_output(out, shape, representation.dtype)
    images = out

    def draw(i: int) -> None:
        try:
            representation.into(*windows[i], images[i])
        except ValueError as error:
            raise ValueError(f"window {i}: {error}") from error

    if num_threads == 1 or len(windows) == 1:
        for i in range(len(windows)):
            draw(i)
    else:
        with ThreadPoolExecutor(min(num_threads, len(windows))) as pool:
            list(pool.map(draw, range(len(windows))))
    return images
