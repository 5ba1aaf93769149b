"""AEDAT 3.1 recordings (cAER, the DVS128 gesture data set): events by time, frames, inertial samples, triggers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eventsam.io.aedat3_packets import (
    FRAME,
    IMU6,
    POLARITY,
    SPECIAL,
    Packet,
    decode,
    decode_frame,
    decode_imu,
    decode_triggers,
    frame_times,
    measure,
    read_packets,
)
from eventsam.io.aedat_header import AedatHeader, read_aedat_header
from eventsam.io.block_recording import BlockRecording, BlockSource, BlockTable
from eventsam.io.format import Format
from eventsam.io.mapped_file import map_file
from eventsam.io.recording import Frame, Imu, LazyFrames, OpenOptions, RecordingError, Triggers

Samples = TypeVar("Samples", Imu, Triggers)

BLOCK_EVENTS = 1 << 17
"""Packets are taken together until they hold this many events."""

SIZES = {
    "dvs128": (128, 128),
    "davis128": (128, 128),
    "davis208": (192, 208),
    "davis240": (180, 240),
    "davis346": (260, 346),
    "davis640": (480, 640),
}
"""Height and width by how a device's name in the header starts."""


class Aedat3Source(BlockSource):
    """The polarity events of one source, in blocks of whole packets."""

    def __init__(self, path: Path, data: NDArray[np.uint8], packets: Sequence[Packet]) -> None:
        """Keep the packets of polarity events of the source."""
        self._path, self._data, self._packets = path, data, packets

    def table(self) -> BlockTable:
        """Measure every packet: events that are not valid do not count."""
        rows = []
        for number, packet in enumerate(self._packets):
            valid, smallest, largest = measure(self._data, packet.offset, packet.event_bytes, packet.count)
            if valid:
                rows.append((valid, smallest + packet.base, largest + packet.base, number, number + 1))
        count, t_min, t_max, first, end = np.array(rows, np.int64).reshape(-1, 5).T
        if not len(rows):
            return BlockTable(count, t_min, t_max, np.empty((0, 2), np.int64))
        block = (np.cumsum(count) - count) // BLOCK_EVENTS
        starts = np.flatnonzero(np.diff(block, prepend=-1))
        ends = np.append(starts[1:], len(rows)) - 1
        place = np.stack([first[starts], end[ends]], axis=1)
        return BlockTable(
            np.add.reduceat(count, starts),
            np.minimum.reduceat(t_min, starts),
            np.maximum.reduceat(t_max, starts),
            place,
        )

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the packets of a block."""
        done = 0
        for packet in self._packets[int(place[0]) : int(place[1])]:
            columns = x[done:], y[done:], t[done:], p[done:]
            done += decode(self._data, packet.offset, packet.event_bytes, packet.count, packet.base, *columns)
        if done != len(t):
            raise RecordingError(f"{self._path}: {done} events where {len(t)} were: the file changed while it was open")


class Aedat3Recording(BlockRecording):
    """An AEDAT 3.1 file: the events, frames, inertial samples and triggers of one source, those that are valid.

    The sensor size comes from the source's name in the header, or from the options where it is not a known one.
    `options.stream` picks the source by number or name where a file has several. Of the frames' 16 bits the upper 8
    are kept.
    """

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Read the header, list the packets and measure those with events."""
        self._data = map_file(path)
        try:
            header = read_aedat_header(self._data)
            if (header.value("Format") or "RAW").upper() != "RAW":
                raise ValueError(f"the packets have format {header.value('Format')!r}, read is RAW")
            packets = read_packets(self._data, header.end)
            source, name = _choose_source(header, packets, options.stream)
        except ValueError as error:
            raise RecordingError(f"{path}: {error}") from error
        size = options.size(path, _stated_size(name))
        self._packets = [packet for packet in packets if packet.source == source]
        events = [packet for packet in self._packets if packet.kind == POLARITY]
        super().__init__("aedat3", path, size, Aedat3Source(path, self._data, events), options)

    def frames(self) -> Sequence[Frame]:
        """Return the frames in time order, decoded one by one."""
        found = []
        for packet in (packet for packet in self._packets if packet.kind == FRAME):
            for number in range(packet.count):
                valid, start, end = frame_times(self._data, packet, number)
                if valid:
                    found.append((start + end, packet, number))
        found.sort(key=lambda entry: entry[0])
        return LazyFrames(len(found), lambda number: self._read_frame(*found[number][1:]))

    def imu(self) -> Imu:
        """Return the inertial samples in time order."""
        return self._samples(IMU6, decode_imu, Imu.empty())

    def triggers(self) -> Triggers:
        """Return the special events in time order, but for those about wraps of the clock and rows without events."""
        return self._samples(SPECIAL, decode_triggers, Triggers.empty())

    def _read_frame(self, packet: Packet, number: int) -> Frame:
        try:
            return decode_frame(self._data, packet, number)
        except ValueError as error:
            raise RecordingError(f"{self.path}: {error}") from error

    def _samples(
        self, kind: int, decode_packet: Callable[[NDArray[np.uint8], Packet], Samples], empty: Samples
    ) -> Samples:
        parts = [empty, *(decode_packet(self._data, packet) for packet in self._packets if packet.kind == kind)]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(empty)}
        order = np.argsort(columns["t"], kind="stable")
        return type(empty)(**{name: column[order] for name, column in columns.items()})


def _choose_source(header: AedatHeader, packets: Sequence[Packet], wanted: str | None) -> tuple[int, str]:
    """Return number and name of the source to read."""
    names = {}
    for line in header.lines:
        label, _, name = line.partition(":")
        words = label.split()
        if len(words) == 2 and words[0].lower() == "source" and words[1].isdecimal() and len(words[1]) < 6:
            names[int(words[1])] = name.strip()
    with_events = sorted({packet.source for packet in packets if packet.kind == POLARITY})
    candidates = with_events or sorted(names)[:1] or [0]
    if wanted is not None:
        candidates = [number for number in candidates if wanted in (str(number), names.get(number))]
    if len(candidates) != 1:
        listed = ", ".join(f"{number} ({names.get(number, 'not named')})" for number in with_events) or "none"
        what = "one source of events" if wanted is None else f"one source of events {wanted!r}"
        raise ValueError(f"expected {what}, found {len(candidates)}; the file's: {listed}")
    return candidates[0], names.get(candidates[0], "")


def _stated_size(name: str) -> tuple[int, int] | None:
    return next((size for start, size in SIZES.items() if name.lower().startswith(start)), None)


FORMATS = (
    Format(
        name="aedat3",
        title="AEDAT 3.1 (cAER)",
        suffixes=(".aedat",),
        matches=lambda path, start: start.startswith(b"#!AER-DAT3.1"),
        open=Aedat3Recording,
    ),
)
