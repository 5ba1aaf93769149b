"""Prophesee DAT 2.0 recordings: text header, then one 64-bit record per event; read and written.

Source: Prophesee, "DAT File Format" (docs.prophesee.ai). After the header one byte says the events' type (0 Event2d, 12
EventCD) and one their size (8). A record is the time, 32 bits of us that wrap after 71.6 minutes, then 14 bits of x, 14
of y and the polarity. The state between records is the largest part of the time, a multiple of 2^32 us, and its last 32
bits.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events
from eventsam.io.format import Format
from eventsam.io.prophesee_header import PropheseeHeader, read_header, refuse_cut, sensor_size
from eventsam.io.prophesee_time import shifted
from eventsam.io.prophesee_words import WordCodec, WordRecording, WordSource
from eventsam.io.prophesee_write import WordLayout, write_words
from eventsam.io.recording import OpenOptions, Recording, RecordingError

EVENT_TYPES = (0, 12)
RECORD_BYTES = 8
BLOCK_RECORDS = 1 << 17
WRAP = 1 << 32
LOW_MASK = WRAP - 1
HALF_WRAP = WRAP >> 1
LATE = WRAP - (1 << 26)
"""A step ahead by more than this, 71 minutes, is an event from just before a wrap that comes after it."""


@compiled
def _wraps_between(last: np.int64, low: np.int64, high: np.int64) -> np.int64:
    """Return the change of the time's high part between two 32-bit times."""
    if last - low > HALF_WRAP:
        return np.int64(WRAP)
    if low - last > LATE and high >= WRAP:
        return np.int64(-WRAP)
    return np.int64(0)


@compiled
def _scan(records: NDArray[np.uint64], state: NDArray[np.int64], found: NDArray[np.int64]) -> None:
    mask, num_backward = np.uint64(LOW_MASK), np.int64(0)
    for i in range(1, records.size):
        num_backward += (records[i] & mask) < (records[i - 1] & mask)
    high, last = state[0], state[1]
    first_low, last_low = np.int64(records[0] & mask), np.int64(records[records.size - 1] & mask)
    if num_backward == 0 and last_low - first_low <= LATE:
        # In order without a wrap: the ends say all.
        high += _wraps_between(last, first_low, high)
        lowest, highest, last = high + first_low, high + last_low, last_low
    else:
        lowest, highest = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        for i in range(records.size):
            low = np.int64(records[i] & mask)
            high += _wraps_between(last, low, high)
            last = low
            lowest, highest = min(lowest, high + low), max(highest, high + low)
    state[0], state[1] = high, last
    found[0], found[1], found[2], found[3] = records.size, lowest, highest, 0


@compiled
def _decode(
    records: NDArray[np.uint64],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> int:
    size = min(records.size, t.size)
    high, last = state[0], state[1]
    # In order without a wrap, the usual case, all times have one high part: that loop and the check need no branches.
    high += _wraps_between(last, np.int64(records[0] & np.uint64(LOW_MASK)), high)
    for i in range(size):
        record = records[i]
        t[i] = high + np.int64(record & np.uint64(LOW_MASK))
        address = np.uint32(record >> np.uint64(32))
        x[i], y[i], p[i] = address & 0x3FFF, (address >> 14) & 0x3FFF, (address >> 28) & 1
    num_backward = 0
    for i in range(1, size):
        num_backward += t[i] < t[i - 1]
    if num_backward or (size and t[size - 1] - t[0] > LATE):
        _unwrap(records[:size], state, t)
    return size


@compiled
def _unwrap(records: NDArray[np.uint64], state: NDArray[np.int64], t: NDArray[np.int64]) -> None:
    high, last = state[0], state[1]
    for i in range(records.size):
        low = np.int64(records[i] & np.uint64(LOW_MASK))
        high += _wraps_between(last, low, high)
        last = low
        t[i] = high + low


CODEC = WordCodec("dat", np.dtype("<u8"), BLOCK_RECORDS, (0, 0), _scan, _decode, None)


def _matches(path: Path, start: bytes) -> bool:
    if not start.startswith(b"% "):
        return False
    header = read_header(path)
    if header.get("evt") is not None or header.get("format") is not None:
        return False
    says_so = (header.get("data") or "").startswith("file containing")
    return says_so or _event_type(path, header) in [bytes([kind, RECORD_BYTES]) for kind in EVENT_TYPES]


def _event_type(path: Path, header: PropheseeHeader) -> bytes:
    with path.open("rb") as file:
        file.seek(header.size)
        return file.read(2)


def _open(path: Path, options: OpenOptions) -> Recording:
    header = read_header(path)
    refuse_cut(path, header)
    if (version := header.get("version")) not in (None, "2", "2.0"):
        raise RecordingError(f"{path}: DAT version {version}, can be read: 2")
    kind = _event_type(path, header)
    if len(kind) < 2:
        raise RecordingError(f"{path}: truncated at byte {path.stat().st_size}, before the type and size of its events")
    if kind[0] not in EVENT_TYPES or kind[1] != RECORD_BYTES:
        allowed = " or ".join(str(allowed) for allowed in EVENT_TYPES)
        raise RecordingError(
            f"{path}: byte {header.size} states events of type {kind[0]} and {kind[1]} bytes, can be read: type "
            f"{allowed} of {RECORD_BYTES} bytes"
        )
    size = sensor_size(path, header, options)
    source, triggers = shifted(WordSource(path, header.size + 2, CODEC, options), path, header)
    return WordRecording("dat", path, size, source, triggers, options)


def _encode(x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64], p: NDArray[np.uint8]) -> NDArray[Any]:
    words = np.empty((len(t), 2), "<u4")
    words[:, 0] = t & LOW_MASK
    words[:, 1] = x | (y.astype(np.uint32) << 14) | (p.astype(np.uint32) << 28)
    return words


def _header_lines(height: int, width: int) -> list[tuple[str, str]]:
    return [("Data", "file containing CD events."), ("Version", "2"), ("Height", str(height)), ("Width", str(width))]


LAYOUT = WordLayout(
    title="DAT",
    max_side=1 << 14,
    end_t_us=WRAP,
    # Pauses of half a wrap or more look like time going back.
    max_pause_us=HALF_WRAP,
    header_lines=_header_lines,
    # No "% end": older readers take it for data; the type's byte is no "%".
    with_end=False,
    before_words=bytes([12, RECORD_BYTES]),
    encoder=lambda: _encode,
)


def _write(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    write_words(path, chunks, height, width, LAYOUT)


FORMATS = (Format("dat", "Prophesee DAT 2.0", (".dat",), _matches, _open, _write),)
