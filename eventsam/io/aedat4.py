"""AEDAT 4 recordings (iniVation DV): events by time, frames, inertial samples and triggers of one camera."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from eventsam.io.aedat4_content import (
    EVENT_BYTES,
    decode_events,
    decode_frame,
    decode_imu,
    decode_triggers,
    event_bytes,
    event_times,
)
from eventsam.io.aedat4_packets import (
    FAULTS,
    MAGIC,
    UNKNOWN,
    Header,
    Packets,
    Scratch,
    Stream,
    decompress,
    plain_limit,
    plain_limits,
    read_header,
    read_packets,
)
from eventsam.io.aedat4_writer import write_aedat4
from eventsam.io.block_recording import BlockRecording, BlockSource, BlockTable
from eventsam.io.format import Format
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.mapped_file import map_file
from eventsam.io.recording import Frame, Imu, LazyFrames, OpenOptions, RecordingError, Triggers

Samples = TypeVar("Samples", Imu, Triggers)

BLOCK_EVENTS = 1 << 17
"""Packets are taken together until they hold this many events: recorders write one every few milliseconds."""

CACHED_FROM = 64 << 20
"""Bytes of events from which on it pays to keep what was measured."""

logger = logging.getLogger(__name__)


class Aedat4File:
    """The parts of a file: its header and, where each lies, its packets; faults are RecordingError naming a byte."""

    def __init__(self, path: Path) -> None:
        """Read the header and the table of packets, or find the packets where there is no table."""
        self.path = path
        self._data = map_file(path)
        self._scratch = Scratch()
        with self._naming(""):
            self.header: Header = read_header(self._data)
            self.packets: Packets = read_packets(self._data, self.header)

    def payload(self, packets: Packets, number: int, least: int = 0) -> NDArray[np.uint8]:
        """Return the decompressed bytes of a packet, valid until the thread asks for another.

        `least` is a size that is allowed whatever the compressed size.
        """
        start, size = int(packets.offset[number]), int(packets.size[number])
        limit = max(plain_limit(size), least)
        return decompress(self._data[start : start + size], self.header.codec, limit, self._scratch)

    def naming(self, packets: Packets, number: int) -> AbstractContextManager[None]:
        """Return a context in which faults become a RecordingError that names the packet."""
        return self._naming(f"packet at byte {packets.offset[number]}: ")

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            yield
        except RecordingError:
            raise
        except FAULTS as error:
            raise RecordingError(f"{self.path}: {what}{error}") from error


class Aedat4Source(BlockSource):
    """The events of one stream, in blocks of whole packets."""

    def __init__(self, file: Aedat4File, stream: Stream, options: OpenOptions) -> None:
        """Keep the packets of the stream that hold events."""
        self._file, self._options = file, options
        packets = file.packets.of(stream.number)
        self._check_counts(packets)
        # The table states first and last, which are the smallest and largest only where time never goes back.
        known = packets.count != UNKNOWN if options.backward == "refuse" else packets.count == 0
        self._packets = self._measured(packets, np.flatnonzero(~known), f"aedat4:{stream.number}:{options.backward}")

    def _check_counts(self, packets: Packets) -> None:
        """Refuse counts that the packets' bytes cannot hold, before anyone allocates for them."""
        impossible = packets.count > plain_limits(packets.size, self._file.header.codec) // EVENT_BYTES
        if impossible.any():
            number = int(impossible.argmax())
            raise RecordingError(
                f"{self._file.path}: the table of packets claims {packets.count[number]} events in the packet of "
                f"{packets.size[number]} bytes at byte {packets.offset[number]}"
            )

    def _measured(self, packets: Packets, numbers: NDArray[np.int64], reader: str) -> Packets:
        """Return the packets that hold events, with counts and times of those numbered taken from the events."""

        def measure() -> Arrays:
            found = np.zeros((3, len(numbers)), np.int64)
            for place, number in enumerate(numbers):
                with self._file.naming(packets, int(number)):
                    t = event_times(event_bytes(self._file.payload(packets, int(number))))
                found[:, place] = (len(t), t.min(), t.max()) if len(t) else 0
            return {"found": found}

        large = int(packets.size[numbers].sum()) >= CACHED_FROM
        found = cached_index(self._file.path, reader, self._options.index_folder, measure) if large else measure()
        for column, values in zip((packets.count, packets.t_first, packets.t_last), found["found"], strict=True):
            column[numbers] = values
        return packets.take(np.flatnonzero(packets.count))

    def table(self) -> BlockTable:
        """Return blocks of neighbouring packets."""
        packets = self._packets
        if not len(packets):
            none = np.empty(0, np.int64)
            return BlockTable(none, none, none, np.empty((0, 2), np.int64))
        block = (np.cumsum(packets.count) - packets.count) // BLOCK_EVENTS
        firsts = np.flatnonzero(np.diff(block, prepend=-1))
        ends = np.append(firsts[1:], len(packets))
        return BlockTable(
            np.add.reduceat(packets.count, firsts),
            np.minimum.reduceat(packets.t_first, firsts),
            np.maximum.reduceat(packets.t_last, firsts),
            np.stack([firsts, ends], axis=1),
        )

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the packets of a block."""
        end = 0
        for number in range(int(place[0]), int(place[1])):
            count = int(self._packets.count[number])
            part = slice(end, end + count)
            end += count
            with self._file.naming(self._packets, number):
                events = event_bytes(self._file.payload(self._packets, number))
                if len(events) != EVENT_BYTES * count:
                    raise ValueError(f"holds {len(events) // EVENT_BYTES} events, the table of packets claims {count}")
            decode_events(events, x[part], y[part], t[part], p[part])


class Aedat4Recording(BlockRecording):
    """An AEDAT 4 file: one event stream, and frames, inertial samples and triggers of the same camera.

    Times are the file's microseconds since 1970. Grey frames keep one channel. `options.stream` picks the event stream
    by its number, name or camera where a file has several. Opens files whose recorder did not write the table of
    packets; refuses truncated ones.
    """

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Read the header and the table of packets; decode only packets that the table does not describe."""
        self._file = Aedat4File(path)
        streams = self._file.header.streams
        stream = _choose_events(path, streams, options.stream)
        stated = (stream.height, stream.width) if stream.height or stream.width else None
        size = options.size(path, stated)
        super().__init__("aedat4", path, size, Aedat4Source(self._file, stream, options), options)
        self._frame_bytes = size[0] * size[1] * 4 + 4096
        self._frames, self._imu, self._triggers = (
            self._companion(stream, identifier) for identifier in ("FRME", "IMUS", "TRIG")
        )

    def frames(self) -> Sequence[Frame]:
        """Return the frames in time order, decoded one by one."""
        return LazyFrames(len(self._frames), self._read_frame)

    def imu(self) -> Imu:
        """Return the inertial samples in time order; axes are the camera's, as recorded."""
        parts = self._decode_packets(self._imu, decode_imu)
        return _in_time_order([Imu.empty(), *parts])

    def triggers(self) -> Triggers:
        """Return the triggers in time order; `source` is the file's type of trigger (`aedat4_content.RISING`)."""
        parts = self._decode_packets(self._triggers, decode_triggers)
        return _in_time_order([Triggers.empty(), *parts])

    def _read_frame(self, number: int) -> Frame:
        with self._file.naming(self._frames, number):
            return decode_frame(self._file.payload(self._frames, number, self._frame_bytes))

    def _decode_packets(self, packets: Packets, decode: Callable[[NDArray[np.uint8]], Samples]) -> list[Samples]:
        parts = []
        for number in range(len(packets)):
            with self._file.naming(packets, number):
                parts.append(decode(self._file.payload(packets, number)))
        return parts

    def _companion(self, events: Stream, identifier: Literal["FRME", "IMUS", "TRIG"]) -> Packets:
        """Return the packets of the stream of a kind that comes from the camera of the events."""
        found = [stream for stream in self._file.header.streams if stream.identifier == identifier]
        chosen = [stream for stream in found if stream.source == events.source] or found
        if len(chosen) > 1:
            others = ", ".join(str(stream.number) for stream in chosen[1:])
            logger.warning("%s: reading %s of stream %d, not of %s", self.path, identifier, chosen[0].number, others)
        packets = self._file.packets.of(chosen[0].number if chosen else -1)
        if (packets.count == UNKNOWN).any() or (packets.t_first[1:] >= packets.t_first[:-1]).all():
            return packets
        return packets.take(np.argsort(packets.t_first, kind="stable"))


def _in_time_order(parts: list[Samples]) -> Samples:
    kind, names = type(parts[0]), list(vars(parts[0]))
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    order = np.argsort(columns["t"], kind="stable")
    return kind(**{name: column[order] for name, column in columns.items()})


def _choose_events(path: Path, streams: Sequence[Stream], wanted: str | None) -> Stream:
    candidates = [stream for stream in streams if stream.identifier == "EVTS"]
    if wanted is not None:
        names = ((str(stream.number), stream.name, stream.source) for stream in candidates)
        candidates = [stream for stream, keys in zip(candidates, names, strict=True) if wanted in keys]
    if len(candidates) != 1:
        listed = ", ".join(f"{stream.number} ({stream.identifier}, {stream.source})" for stream in streams) or "none"
        what = "one event stream" if wanted is None else f"one event stream {wanted!r}"
        raise RecordingError(f"{path}: expected {what}, found {len(candidates)}; the file's streams: {listed}")
    return candidates[0]


FORMATS = (
    Format(
        name="aedat4",
        title="AEDAT 4 (iniVation DV)",
        suffixes=(".aedat4",),
        matches=lambda path, start: start.startswith(MAGIC),
        open=Aedat4Recording,
        write=write_aedat4,
    ),
)
