"""Windows of a recording as pictures: the represented events, and the camera frame of the moment."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsam.io.recording import Frame, Recording
from eventsam.representations import Representation
from eventsam.views.camera_frames import NearestFrames


@dataclass(frozen=True, eq=False)
class Picture:
    """A window [t0, t1) us: its `events` as uint8 (3, H, W), how many there are, and the nearest `frame`, if any."""

    t0: int
    t1: int
    num_events: int
    events: NDArray[np.uint8]
    frame: Frame | None


def pictures(
    recording: Recording, representation: Representation, starts: Iterable[int], length: int
) -> Iterator[Picture]:
    """Yield the windows of `length` us that begin at `starts`; only one window is in memory at a time.

    The frame is the one nearest to the window's middle.
    """
    frames = NearestFrames(recording.frames())
    for t0 in starts:
        events = recording.events(t0, t0 + length)
        image = representation.to_rgb(representation(events, t0, t0 + length))
        yield Picture(t0, t0 + length, len(events), image, frames.at(t0 + length // 2))
