"""What every reader returns: a recording with its sensor size, its events by time and its frames."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events


@dataclass(frozen=True, eq=False)
class Frame:
    """A camera frame: uint8 (C, H, W) with C = 1 (grey) or 3 (red, green, blue), as the camera stored it.

    `t_us` is the middle of the exposure [exposure_start_us, exposure_end_us); a file that does not state the exposure
    gives three equal times.
    """

    t_us: int
    exposure_start_us: int
    exposure_end_us: int
    image: NDArray[np.uint8]

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The image as (3, H, W): grey is repeated."""
        return self.image if self.image.shape[0] == 3 else np.repeat(self.image, 3, axis=0)


class Recording(Protocol):
    """One sensor run, opened for reading; times are the file's own microseconds."""

    @property
    def path(self) -> Path:
        """File or folder that was opened."""

    @property
    def height(self) -> int:
        """Sensor rows."""

    @property
    def width(self) -> int:
        """Sensor columns."""

    @property
    def t_first_us(self) -> int:
        """Time of the first event; 0 where there is none."""

    @property
    def t_last_us(self) -> int:
        """Time of the last event; 0 where there is none."""

    @property
    def num_events(self) -> int:
        """Number of events."""

    def events(self, t0: int, t1: int) -> Events:
        """Return the events with t in [t0, t1) us; raise ValueError for t1 < t0 or a faulty file (named)."""

    def frames(self) -> Sequence[Frame]:
        """Return the frames in time order, each decoded when it is asked for."""


@dataclass(frozen=True)
class LazyFrames(Sequence[Frame]):
    """Frames that are decoded one by one, so that a long recording does not have to fit in memory."""

    num_frames: int
    read: Callable[[int], Frame]

    def __len__(self) -> int:
        """Number of frames."""
        return self.num_frames

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        """Decode a frame by number (negative from the end; IndexError past it), or a slice of them."""
        if isinstance(index, slice):
            return [self.read(i) for i in range(*index.indices(self.num_frames))]
        if not -self.num_frames <= index < self.num_frames:
            raise IndexError(f"frame {index} of {self.num_frames}")
        return self.read(index % self.num_frames)

    def __iter__(self) -> Iterator[Frame]:
        """Decode the frames in order."""
        return (self.read(i) for i in range(self.num_frames))
