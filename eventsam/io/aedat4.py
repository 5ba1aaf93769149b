"""AEDAT 4 recordings (iniVation DV): events by time, frames, sensor size."""

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.aedat4_packets import (
    FAULTS,
    Packet,
    Stream,
    decode_events,
    decode_frame,
    decompress,
    read_header,
    read_packets,
)
from eventsam.io.recording import Frame, LazyFrames


class Aedat4Recording:
    """An AEDAT 4 file; packets are read when their time is asked for.

    `stream` picks the event stream by its number where a file has several (ValueError lists them). Frames come from the
    camera of that stream: grey frames keep one channel. Every fault of the file raises ValueError naming it.
    """

    def __init__(self, path: Path, stream: int | None = None) -> None:
        """Read the header and the place and time of every packet."""
        self.path = path
        self._data = _map(path)
        try:
            self._header = read_header(self._data)
            self._stream = _choose_events(self._header.streams, stream)
            frame_stream = _choose_frames(self._header.streams, self._stream)
            packets = read_packets(self._data, self._header)
        except FAULTS as error:
            raise ValueError(f"{path}: {error}") from error
        self.height, self.width = self._stream.height, self._stream.width
        self._frame_packets = [packet for packet in packets if packet.stream == frame_stream]
        events = [self._measure(packet) for packet in packets if packet.stream == self._stream.number]
        self._event_packets = [packet for packet in events if packet.count]
        self._counts = np.array([packet.count for packet in self._event_packets], np.int64)
        self._firsts = np.array([packet.t_first for packet in self._event_packets], np.int64)
        self._lasts = np.array([packet.t_last for packet in self._event_packets], np.int64)
        if (self._firsts[1:] < self._lasts[:-1]).any() or (self._lasts < self._firsts).any():
            raise ValueError(f"{path}: event packets are not in time order")

    @property
    def num_events(self) -> int:
        """Number of events."""
        return int(self._counts.sum())

    @property
    def t_first_us(self) -> int:
        """Time of the first event; 0 where there is none."""
        return int(self._firsts[0]) if len(self._firsts) else 0

    @property
    def t_last_us(self) -> int:
        """Time of the last event; 0 where there is none."""
        return int(self._lasts[-1]) if len(self._lasts) else 0

    def events(self, t0: int, t1: int) -> Events:
        """Return the events with t in [t0, t1) us."""
        first = int(np.searchsorted(self._lasts, t0, side="left"))
        end = int(np.searchsorted(self._firsts, t1, side="left"))
        parts = [self._decode(packet) for packet in self._event_packets[first:end]]
        if not parts:
            return Events.empty(self.height, self.width).between(t0, t1)
        columns = (np.concatenate([part[name] for part in parts]) for name in ("x", "y", "t", "p"))
        x, y, t, p = columns
        return Events.from_arrays(x, y, t, p, height=self.height, width=self.width, source=str(self.path)).between(
            t0, t1
        )

    def frames(self) -> Sequence[Frame]:
        """Return the frames in file order, decoded one by one."""
        return LazyFrames(len(self._frame_packets), self._read_frame)

    def _read_frame(self, number: int) -> Frame:
        try:
            return decode_frame(self._payload(self._frame_packets[number]))
        except FAULTS as error:
            raise ValueError(f"{self.path}: frame {number}: {error}") from error

    def _measure(self, packet: Packet) -> Packet:
        # Early recorders left counts and times out of the table: then the packet itself is asked.
        if packet.count is not None and (packet.count == 0 or None not in (packet.t_first, packet.t_last)):
            return packet
        t = self._decode(packet)["t"]
        times = (int(t[0]), int(t[-1])) if len(t) else (None, None)
        return Packet(packet.stream, packet.offset, packet.size, len(t), *times)

    def _decode(self, packet: Packet) -> NDArray[np.void]:
        try:
            return decode_events(self._payload(packet))
        except FAULTS as error:
            raise ValueError(f"{self.path}: packet at byte {packet.offset}: {error}") from error

    def _payload(self, packet: Packet) -> bytes:
        return decompress(self._data[packet.offset : packet.offset + packet.size], self._header.codec)


def _map(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        # An empty file cannot be mapped; as bytes it fails with the message about its first line.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _choose_events(streams: Sequence[Stream], number: int | None) -> Stream:
    candidates = [stream for stream in streams if stream.identifier == "EVTS"]
    if number is not None:
        candidates = [stream for stream in candidates if stream.number == number]
    if len(candidates) != 1:
        listed = ", ".join(f"{stream.number} ({stream.identifier}, {stream.source})" for stream in streams) or "none"
        wanted = "one event stream" if number is None else f"an event stream {number}"
        raise ValueError(f"expected {wanted}, found {len(candidates)}; the file's streams: {listed}")
    if candidates[0].height < 1 or candidates[0].width < 1:
        raise ValueError(f"the header does not state the sensor size of event stream {candidates[0].number}")
    return candidates[0]


def _choose_frames(streams: Sequence[Stream], events: Stream) -> int | None:
    frames = [stream for stream in streams if stream.identifier == "FRME"]
    same_camera = [stream for stream in frames if stream.source == events.source]
    chosen = same_camera or frames
    if len(chosen) > 1:
        raise ValueError(f"several frame streams beside event stream {events.number}: {[s.number for s in chosen]}")
    return chosen[0].number if chosen else None
