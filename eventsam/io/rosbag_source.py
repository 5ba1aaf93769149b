"""The events of one topic of a bag, as runs of messages that can be decoded each on its own."""

import threading
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsam.io.block_recording import BlockSource, BlockTable, Columns
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.recording import RecordingError
from eventsam.io.rosbag_events import EventMessages
from eventsam.io.rosbag_fields import PARSE_FAULTS
from eventsam.io.rosbag_file import Bag, Topic

RUN_EVENTS, RUN_MESSAGES = 100_000, 4096
"""A run of messages ends when it has as many events, or at the latest as many messages."""


class BagSource(BlockSource):
    """Runs of messages as blocks.

    Place: log times [start, stop) that hold the run, messages among them before it, its messages, its first message's
    number, then the decoder's state before it.
    """

    def __init__(self, bag: Bag, topic: Topic, index_folder: Path | None) -> None:
        """Read the topic once, unless its index is kept."""
        self.bag, self.topic = bag, topic
        self._fields = bag.fields(topic)
        self._running = threading.local()
        stats = [file.stat() for file in bag.files]
        key = f"rosbag:{topic.name}:{[(status.st_size, status.st_mtime_ns) for status in stats]}"
        self._index = cached_index(bag.path, key, index_folder, self._measure)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) as the messages state it, None where none does."""
        height, width = (int(side) for side in self._index["size"])
        return (height, width) if height and width else None

    def table(self) -> BlockTable:
        """Return one block per run of messages."""
        return BlockTable(*(self._index[name] for name in ("count", "t_min", "t_max", "place")))

    def _measure(self) -> Arrays:
        decoder = EventMessages(self._fields)
        log_times = array("q")
        runs: list[list[int]] = []
        size = (0, 0)
        run = _new_run(0, decoder.state)
        for log_time, message in self.bag.messages(self.topic):
            stated, columns = self._decode(decoder, message, log_time)
            size = self._agreed(size, stated, log_time)
            log_times.append(log_time)
            _extend(run, columns[2], log_time)
            if run[0] >= RUN_EVENTS or run[5] >= RUN_MESSAGES:
                runs.append(run)
                run = _new_run(len(log_times), decoder.state)
        runs.append(run)
        rows = np.array([run for run in runs if run[0]], np.int64).reshape(-1, 7 + len(decoder.state))
        place = _places(rows, np.array(log_times, np.int64))
        return {"count": rows[:, 0], "t_min": rows[:, 1], "t_max": rows[:, 2], "place": place, "size": np.array(size)}

    def _decode(self, decoder: EventMessages, message: bytes, log_time: int) -> tuple[tuple[int, int], Columns]:
        try:
            return decoder.decode(message)
        except PARSE_FAULTS as error:
            raise RecordingError(
                f"{self.bag.path}: {self.topic.name}: message logged at {log_time} ns: {error}"
            ) from error

    def _agreed(self, size: tuple[int, int], stated: tuple[int, int], log_time: int) -> tuple[int, int]:
        # Some drivers leave the size at 0.
        if 0 in stated or stated == size:
            return size
        if 0 not in size:
            raise RecordingError(
                f"{self.bag.path}: {self.topic.name}: the message logged at {log_time} ns states a sensor of height "
                f"{stated[0]}, width {stated[1]}, those before height {size[0]}, width {size[1]}"
            )
        return stated

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the run."""
        first = 0
        decoder = EventMessages(self._fields)
        decoder.state = tuple(int(value) for value in place[6:])
        messages = self._run(place)
        for log_time, message in messages:
            _, columns = self._decode(decoder, message, log_time)
            part = slice(first, first + len(columns[2]))
            first += len(columns[2])
            if first <= len(t):
                x[part], y[part], t[part], p[part] = columns
        if first != len(t):
            raise RecordingError(f"{self.bag.path}: {self.topic.name}: {first} events read, its index says {len(t)}")

    def _run(self, place: NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
        start, stop, skip, count, number, in_order = (int(value) for value in place[:6])
        # A thread that reads on goes on where it stopped: starting anew costs a search.
        if getattr(self._running, "next", None) != number:
            # Where log times go back, messages from elsewhere lie among those after the run, so these are left out.
            self._running.messages = self.bag.messages(self.topic, start, None if in_order else stop)
            for _ in islice(self._running.messages, skip):
                pass
        self._running.next = None
        yield from islice(self._running.messages, count)
        self._running.next = number + count if in_order else None


def _new_run(number: int, state: Sequence[int]) -> list[int]:
    """Return a run's count, t_min, t_max, log time min and max, messages, first message's number, decoder's state."""
    limits = np.iinfo(np.int64)
    return [0, limits.max, limits.min, limits.max, limits.min, 0, number, *state]


def _extend(run: list[int], t: NDArray[np.int64], log_time: int) -> None:
    if len(t):
        run[0], run[1], run[2] = run[0] + len(t), min(run[1], int(t.min())), max(run[2], int(t.max()))
    run[3], run[4], run[5] = min(run[3], log_time), max(run[4], log_time), run[5] + 1


def _places(rows: NDArray[np.int64], log_times: NDArray[np.int64]) -> NDArray[np.int64]:
    in_order = bool((log_times[1:] >= log_times[:-1]).all())
    place = np.empty((len(rows), rows.shape[1] - 1), np.int64)
    for i, (_, _, _, start, last, count, number, *state) in enumerate(rows.tolist()):
        before = log_times[:number]
        # Searched from the end in order, where only equal times lie before the run.
        skip = (
            number - int(np.searchsorted(before, start))
            if in_order
            else int(np.count_nonzero((before >= start) & (before <= last)))
        )
        place[i] = (start, last + 1, skip, count, number, in_order, *state)
    return place
