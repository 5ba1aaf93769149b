"""A recording held in memory that notes what is read of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from eventsam.events import Events
from eventsam.io.recording import Faults, Frame, LazyFrames, Recording


class HeldRecording(Recording):
    """Events and frame times in memory; `largest_read` and `frames_read` say how it was used."""

    format = "held"

    def __init__(self, events: Events, frame_times: Sequence[int] = (), name: str = "held.raw") -> None:
        self.path = Path(name)
        self.height, self.width = events.height, events.width
        self.held = events
        self.frame_times = list(frame_times)
        self.largest_read = 0
        self.frames_read: list[int] = []

    @property
    def num_events(self) -> int:
        return len(self.held)

    @property
    def t_first_us(self) -> int:
        return int(self.held.t[0]) if len(self.held) else 0

    @property
    def t_last_us(self) -> int:
        return int(self.held.t[-1]) if len(self.held) else 0

    def events(self, t0: int, t1: int) -> Events:
        part = self.held.between(t0, t1)
        self.largest_read = max(self.largest_read, len(part))
        return part

    def chunks(self, max_events: int = 1 << 18) -> Iterator[Events]:
        return (self.held.slice(i, i + max_events) for i in range(0, len(self.held), max_events))

    def faults(self) -> Faults:
        return Faults()

    def frames(self) -> Sequence[Frame]:
        return LazyFrames(len(self.frame_times), self._frame)

    def _frame(self, number: int) -> Frame:
        self.frames_read.append(number)
        t_us = self.frame_times[number]
        return Frame(t_us, t_us, t_us, np.full((1, self.height, self.width), number % 256, np.uint8))
