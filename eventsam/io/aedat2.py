"""AEDAT 2.0 and 1.0 recordings (jAER, v2e): events by time, frames of DAVIS cameras, events of the input pin.

After the header lines come records of a big-endian address (32 bits; 16 in version 1.0, which knows the DVS128 only)
and an i32 time in us, which wraps. Addresses: `aedat2_layout`. Inertial samples are skipped: the file does not state
the full scale of the sensor, without which its numbers have no unit.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsam.io.aedat2_frames import FRAME_COLUMNS, find_frames, read_frame
from eventsam.io.aedat2_layout import DAVIS, DVS128, SIZES, Layout, chip_of
from eventsam.io.aedat2_records import JUMP, Whole, decode, scan, times_of
from eventsam.io.aedat2_writer import JUMP_LINE, OFFSET_KEY, write_aedat2
from eventsam.io.aedat_header import AedatHeader, read_aedat_header
from eventsam.io.block_recording import BlockRecording, BlockSource, BlockTable
from eventsam.io.format import Format
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.mapped_file import map_file
from eventsam.io.recording import Frame, LazyFrames, OpenOptions, RecordingError, Triggers

BLOCK_RECORDS = 1 << 17
"""Records per block: 1 MB of the file."""

CACHED_FROM = 64 << 20
"""Bytes of records from which on it pays to keep the index."""

RISING = (3, 4)
"""Low bits of an address of the input pin: it rose, or pulsed. 2 says that it fell; old firmware says nothing."""


class Aedat2Source(BlockSource):
    """The records of a file, in blocks of equal size; the clock's state at each start is in the index."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Read the header; find chip, layout and size."""
        self.path, self._options = path, options
        self._data = map_file(path)
        try:
            self.header = read_aedat_header(self._data)
            self.layout, size = _layout(self.header, path, options)
            self._base = _base(self.header)
        except RecordingError:
            raise
        except ValueError as error:
            raise RecordingError(f"{path}: {error}") from error
        self.height, self.width = size
        record_bytes = 6 if self.header.version == "1.0" else 8
        left = (len(self._data) - self.header.end) % record_bytes
        if left:
            raise RecordingError(
                f"{path}: truncated: at byte {len(self._data) - left} starts a record of {record_bytes} bytes, {left} "
                "are there"
            )
        self.jumps = JUMP_LINE in self.header.lines
        self._numbers = self.layout.numbers(self.height, self.width, self.jumps)
        self.records = self._data[self.header.end :].reshape(-1, record_bytes)

    def table(self) -> BlockTable:
        """Scan the file once; the index of a large one is kept."""
        index = self.cached(f"aedat2:{self.layout.name}", lambda: self._scan().to_arrays())
        return BlockTable(index["count"], index["t_min"], index["t_max"], index["place"])

    def cached(self, reader: str, build: Callable[[], Arrays]) -> Arrays:
        """Return an index of this file: kept between runs where the file is large."""
        if self.records.nbytes < CACHED_FROM:
            return build()
        return cached_index(self.path, reader, self._options.index_folder, build)

    def _scan(self) -> BlockTable:
        firsts = np.arange(0, len(self.records), BLOCK_RECORDS, dtype=np.int64)
        columns = np.zeros((4, len(firsts)), np.int64)
        t: Whole = 0
        for number, first in enumerate(firsts):
            columns[3, number] = t
            *columns[:3, number], t = scan(self._part(int(first)), self._numbers, t, self._base)
        return BlockTable(columns[0], columns[1], columns[2], np.stack([firsts, columns[3]], axis=1))

    def _part(self, first: int) -> NDArray[np.int64]:
        """Return the records of a block as the compiled loops take them: address << 32 | time."""
        part = self.records[first : first + BLOCK_RECORDS]
        if part.shape[1] == 8:
            words: NDArray[np.int64] = part.reshape(-1).view(">i8").astype(np.int64)
        else:
            address, t = part[:, :2].copy().view(">u2"), part[:, 2:].copy().view(">u4")
            words = address[:, 0].astype(np.int64) << 32 | t[:, 0].astype(np.int64)
        return words

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the change events of a block."""
        found = decode(self._part(int(place[0])), self._numbers, int(place[1]), self._base, x, y, t, p)
        if found != len(t):
            raise RecordingError(
                f"{self.path}: {found} events where the index says {len(t)}, from byte "
                f"{self.header.end + int(place[0]) * self.records.shape[1]}: the file changed while it was open"
            )

    def words(self, place: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return addresses (N,) and times (N,) of all records of a block, change events or not."""
        part = self._part(int(place[0]))
        times = np.empty(len(part), np.int64)
        times_of(part, self._numbers, int(place[1]), self._base, times)
        return (part >> 32).astype(np.uint32), times

    def addresses(self, first: int, end: int) -> NDArray[np.uint32]:
        """Return the addresses of records `first` up to `end` of a file of version 2.0."""
        return self.records[first:end, :4].copy().view(">u4")[:, 0].astype(np.uint32)


class Aedat2Recording(BlockRecording):
    """An AEDAT 2.0 or 1.0 file: change events, frames of DAVIS cameras, events of the input pin.

    The chip comes from the header (`# AEChip:`), or by height and width from the options where the header names none;
    `aedat2_layout` has the chips and how their addresses are turned upright. A frame is what the reset reads exceed the
    signal reads by, of 10 bits the upper 8; frames of which a pixel was not read are left out. Times that wrap are
    continued: a step of more than 2^31 us (35 minutes) to either side is taken for a wrap.
    """

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Read the header and index the file."""
        source = Aedat2Source(path, options)
        self._records = source
        super().__init__("aedat2", path, (source.height, source.width), source, options)

    def frames(self) -> Sequence[Frame]:
        """Return the frames in time order, decoded one by one; finding them scans the file."""
        source = self._records
        if source.layout is not DAVIS:
            return super().frames()
        places = self._all_places()
        found = source.cached("aedat2:frames", lambda: {"found": find_frames(source, places)})["found"]
        size = found.shape
        if len(size) != 2 or size[1] != FRAME_COLUMNS:
            raise RecordingError(f"{self.path}: the kept index of frames is damaged")
        return LazyFrames(len(found), lambda number: read_frame(source, found[number]))

    def triggers(self) -> Triggers:
        """Return the events of the input pin in file order; `source` is the low byte of their address (see RISING)."""
        layout = self._records.layout
        parts = [Triggers.empty()]
        for place in self._all_places() if layout.external else ():
            addresses, times = self._records.words(place)
            external = ((addresses & layout.external) != 0) & ((addresses & layout.multiplexed) == 0)
            if self._records.jumps:
                external &= (addresses & JUMP) != JUMP
            low = (addresses[external] & 0xFF).astype(np.uint8)
            edge = np.isin(low, RISING).astype(np.uint8) if layout is DAVIS else np.zeros(len(low), np.uint8)
            parts.append(Triggers(times[external], low, edge))
        columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("t", "source", "edge"))
        return Triggers(*columns)

    def _all_places(self) -> NDArray[np.int64]:
        # The recording keeps blocks with change events only; a block of pixel readings alone counts here.
        return self._records.table().place


def _layout(header: AedatHeader, path: Path, options: OpenOptions) -> tuple[Layout, tuple[int, int]]:
    if header.version not in ("1.0", "2.0"):
        raise ValueError(f"AEDAT {header.version} is not read, only 1.0, 2.0, 3.1 and 4.0: jAER or DV convert it")
    if header.version == "1.0":
        return DVS128, options.size(path, (128, 128))
    chip = chip_of(header)
    if chip is not None:
        return chip[0], options.size(path, chip[1:])
    size = options.size(path, None)
    if size not in SIZES:
        allowed = ", ".join(f"{height}x{width}" for height, width in SIZES)
        raise ValueError(
            f"the header names no chip, and none of {size[0]}x{size[1]} pixels is known (known: {allowed})"
        )
    return SIZES[size], size


def _base(header: AedatHeader) -> int:
    text = header.value(OFFSET_KEY)
    if text is None:
        return 0
    if not text.isdecimal() or len(text) > 19 or int(text) >= 1 << 63:
        raise ValueError(f"{OFFSET_KEY} is {text!r}, expected whole microseconds")
    return int(text)


FORMATS = (
    Format(
        name="aedat2",
        title="AEDAT 2.0 and 1.0 (jAER)",
        suffixes=(".aedat", ".aedat2"),
        # Versions that are not read are taken too, so that the message can name them.
        matches=lambda path, start: start.startswith(b"#!AER-DAT") and start[9:12] not in (b"3.1", b"4.0"),
        open=Aedat2Recording,
        write=write_aedat2,
    ),
)
