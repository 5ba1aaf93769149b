"""Event Stream recordings (`.es`, version 2): DVS streams, and the change events of ATIS streams.

Layout after the format's description: `Event Stream`, three bytes of version, one of the stream's type, for cameras u16
width and u16 height (little-endian), then events, each relative to the one before.

- DVS: 0xff adds 127 us, 0xfe (a marker for the state machine) does nothing; else an event of 5 bytes: us since the one
  before in bits 7-1 and the polarity in bit 0 of the first, then u16 x, u16 y.
- ATIS: a byte from 0xfc on adds 63 us times its bits 1-0 (0xfc itself does nothing); else an event of 5 bytes: us in
  bits 7-2, bit 0 for an exposure measurement, else the polarity in bit 1, then u16 x, u16 y.

Coordinates are the file's own. The description does not say where y starts, and other readers do not turn it; but the
tools of the format's authors turn recordings over when they convert them to it, so in files made by those y counts from
the bottom.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsam.io.block_recording import BlockRecording, BlockSource, BlockTable
from eventsam.io.event_stream_bytes import ATIS, DVS, EVENT_BYTES, Whole, decode, scan
from eventsam.io.event_stream_jumps import read_jumps
from eventsam.io.event_stream_writer import HEADER, MAGIC, write_event_stream
from eventsam.io.format import Format
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.mapped_file import map_file
from eventsam.io.recording import OpenOptions, RecordingError

TYPES = {0: "generic", DVS: "DVS", ATIS: "ATIS", 3: "display", 4: "colour"}
"""Types of streams by number."""

BLOCK_EVENTS = 1 << 17

CACHED_FROM = 64 << 20
"""Bytes of events from which on it pays to keep the index."""


class EventStreamSource(BlockSource):
    """The events of a file, in blocks of equal number; the clock's state at each start is in the index."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Read header and trailer."""
        self._path, self._options = path, options
        data = map_file(path)
        self._kind, size = _read_header(path, data)
        self.height, self.width = options.size(path, size)
        try:
            self._jumps, self._end = read_jumps(data, HEADER.size)
        except ValueError as error:
            raise RecordingError(f"{path}: {error}") from error
        self._data = data[: self._end]
        self.num_exposure_measurements = 0

    def table(self) -> BlockTable:
        """Scan the file once; the index of a large one is kept."""
        large = len(self._data) >= CACHED_FROM
        folder = self._options.index_folder
        index = cached_index(self._path, "event_stream", folder, self._scan) if large else self._scan()
        count, first, last, measurements, position, t = index["blocks"]
        self.num_exposure_measurements = int(measurements.sum())
        number = np.cumsum(count) - count
        jumps = self._jumps
        t_min, t_max = first + jumps.before(number), last + jumps.before(number + np.maximum(count, 1) - 1)
        ends = np.append(position, self._end)[1:]
        return BlockTable(count, t_min, t_max, np.stack([position, ends, t, number], axis=1))

    def _scan(self) -> Arrays:
        """Return the blocks as (6, N): count, first and last time, measurements; where they start and when."""
        rows = []
        position = HEADER.size
        t: Whole = 0
        while position < self._end:
            start = position, t
            position, t, count, first, last, measurements = scan(self._data, position, t, self._kind, BLOCK_EVENTS)
            rows.append((count, first, last, measurements, *start))
            if count < BLOCK_EVENTS:
                break
        if position < self._end:
            raise RecordingError(
                f"{self._path}: truncated: at byte {position} starts an event of {EVENT_BYTES} bytes, "
                f"{self._end - position} are there"
            )
        if t + self._jumps.total() >= 1 << 63:
            raise RecordingError(f"{self._path}: the times leave 64 bits, in the list of pauses at byte {self._end}")
        return {"blocks": np.array(rows, np.int64).reshape(-1, 6).T.copy()}

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the events of a block."""
        first, end, start, number = (int(value) for value in place)
        found = decode(self._data[first:end], start, self._kind, x, y, t, p)
        if found != len(t):
            raise RecordingError(
                f"{self._path}: {found} events where the index says {len(t)}, from byte {first}: the file changed "
                "while it was open"
            )
        if self._jumps.total():
            t += self._jumps.before(np.arange(number, number + len(t)))


class EventStreamRecording(BlockRecording):
    """An Event Stream file of type DVS or ATIS; of the latter's events, exposure measurements are left out.

    `num_exposure_measurements` counts those. Coordinates are the file's own (see the module about y).
    """

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Read the header and index the file."""
        source = EventStreamSource(path, options)
        super().__init__("event_stream", path, (source.height, source.width), source, options)
        self.num_exposure_measurements = source.num_exposure_measurements


def _read_header(path: Path, data: NDArray[np.uint8]) -> tuple[int, tuple[int, int]]:
    """Return the stream's type, and height and width."""
    if len(data) < 16 or data[: len(MAGIC)].tobytes() != MAGIC:
        raise RecordingError(f"{path}: not a whole Event Stream header: {data[:16].tobytes()!r}")
    version, kind = data[12:15].tolist(), int(data[15])
    if version[0] != 2:
        raise RecordingError(f"{path}: Event Stream version {'.'.join(map(str, version))} is not read, only version 2")
    if kind not in (DVS, ATIS):
        name = TYPES.get(kind, "an unknown type")
        raise RecordingError(f"{path}: a stream of type {kind} ({name}) holds no change events; read are DVS and ATIS")
    if len(data) < HEADER.size:
        raise RecordingError(f"{path}: truncated: the header needs {HEADER.size} bytes, the file has {len(data)}")
    *_, width, height = HEADER.unpack(data[: HEADER.size].tobytes())
    return kind, (height, width)


FORMATS = (
    Format(
        name="event_stream",
        title="Event Stream",
        suffixes=(".es",),
        matches=lambda path, start: start.startswith(MAGIC),
        open=EventStreamRecording,
        write=write_event_stream,
    ),
)
