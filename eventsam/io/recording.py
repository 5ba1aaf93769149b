"""What every reader returns: a recording with its sensor size, its events by time, its frames and other streams."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from eventsam.events import MAX_SIDE, Events

Backward = Literal["refuse", "sort", "running_maximum"]
"""What to do where time goes back: raise, sort (stable), or take the largest time so far."""
Outside = Literal["refuse", "drop"]
"""What to do with events outside the sensor: raise, or leave them out."""

CHUNK_EVENTS = 1 << 18
"""Events that `Recording.chunks` returns at a time unless told otherwise (3.4 MB)."""


class RecordingError(ValueError):
    """A recording that cannot be read; the message names the file and, where known, the byte or the event."""


class UnknownSizeError(RecordingError):
    """A recording whose file does not state the sensor size, opened without one."""


@dataclass(frozen=True)
class OpenOptions:
    """How to open a recording, where its file leaves something open.

    `height` and `width` (together) state the sensor of files that do not; a file that does must agree. `stream` picks
    one event stream (a topic, a camera, a group) of files with several. `backward` and `outside` are policies for
    faults, which are counted (`Recording.faults`). `index_folder` is where the index of large files is kept between
    runs: None is the user's cache folder.
    """

    height: int | None = None
    width: int | None = None
    stream: str | None = None
    backward: Backward = "refuse"
    outside: Outside = "refuse"
    index_folder: Path | None = None

    def __post_init__(self) -> None:
        """Refuse half a sensor size, an impossible one, and unknown policies."""
        if (self.height is None) != (self.width is None):
            raise ValueError("give height and width together, not one of them")
        for name in ("height", "width"):
            value = getattr(self, name)
            if value is not None and not 1 <= value < MAX_SIDE:
                raise ValueError(f"{name} is {value}, allowed: 1 to {MAX_SIDE - 1}")
        for name, kind in (("backward", Backward), ("outside", Outside)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}, allowed: {', '.join(get_args(kind))}")

    def size(self, path: Path, stated: tuple[int, int] | None) -> tuple[int, int]:
        """Return (height, width) from what the file states, or else the options.

        Raises RecordingError where both state it and differ, where neither does (UnknownSizeError), and where the
        file's is impossible: the largest coordinate seen is no sensor size, so it is never taken for one.
        """
        given = None if self.height is None or self.width is None else (self.height, self.width)
        if stated is not None and given is not None and stated != given:
            raise RecordingError(f"{path}: the file states {_size_text(stated)} pixels, asked for {_size_text(given)}")
        size = stated or given
        if size is None:
            raise UnknownSizeError(f"{path}: the file does not state the sensor size: give height and width")
        if not all(1 <= side < MAX_SIDE for side in size):
            raise RecordingError(f"{path}: the file states {_size_text(size)} pixels, allowed: 1 to {MAX_SIDE - 1}")
        return size


@dataclass(frozen=True)
class Faults:
    """Events that a policy mended: those earlier than one before them, and those outside the sensor."""

    num_backward: int = 0
    num_outside: int = 0


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


@dataclass(frozen=True, eq=False)
class Imu:
    """Inertial samples: `t` int64 us (N,), accelerometer (N, 3) in m/s^2, gyroscope (N, 3) in rad/s, float32."""

    t: NDArray[np.int64]
    accelerometer: NDArray[np.float32]
    gyroscope: NDArray[np.float32]

    @classmethod
    def empty(cls) -> "Imu":
        """Return no samples."""
        return cls(np.empty(0, np.int64), np.empty((0, 3), np.float32), np.empty((0, 3), np.float32))

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.t)


@dataclass(frozen=True, eq=False)
class Triggers:
    """External triggers: `t` int64 us (N,), `source` uint8 (N,) the input or kind, `edge` uint8 (N,) 1 rising."""

    t: NDArray[np.int64]
    source: NDArray[np.uint8]
    edge: NDArray[np.uint8]

    @classmethod
    def empty(cls) -> "Triggers":
        """Return no triggers."""
        return cls(np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.uint8))

    def __len__(self) -> int:
        """Number of triggers."""
        return len(self.t)


class Recording(ABC):
    """One sensor run, opened for reading; times are the file's own microseconds. Reading from threads is allowed."""

    format: str
    """Name of the file's format."""
    path: Path
    """File or folder that was opened."""
    height: int
    """Sensor rows."""
    width: int
    """Sensor columns."""

    @property
    @abstractmethod
    def num_events(self) -> int:
        """Number of events."""

    @property
    @abstractmethod
    def t_first_us(self) -> int:
        """Time of the first event; 0 where there is none."""

    @property
    @abstractmethod
    def t_last_us(self) -> int:
        """Time of the last event; 0 where there is none."""

    @abstractmethod
    def events(self, t0: int, t1: int) -> Events:
        """Return the events with t in [t0, t1) us; raise ValueError for t1 < t0, RecordingError for a faulty file."""

    @abstractmethod
    def chunks(self, max_events: int = CHUNK_EVENTS) -> Iterator[Events]:
        """Return all events in order, at most `max_events` at a time, in memory that does not grow with the file."""

    @abstractmethod
    def faults(self) -> Faults:
        """Count what the policies mended; reads the whole recording once."""

    def read(self) -> Events:
        """Return all events (13 bytes each)."""
        return self.events(self.t_first_us, self.t_last_us + 1)

    def frames(self) -> Sequence[Frame]:
        """Return the frames in time order, each decoded when it is asked for; none where the format has none."""
        return LazyFrames(0, _no_frame)

    def imu(self) -> Imu:
        """Return the inertial samples; none where the format has none."""
        return Imu.empty()

    def triggers(self) -> Triggers:
        """Return the external triggers; none where the format has none."""
        return Triggers.empty()


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


def _no_frame(number: int) -> Frame:
    raise IndexError(f"frame {number} of 0")


def _size_text(size: tuple[int, int]) -> str:
    return f"height {size[0]}, width {size[1]}"
