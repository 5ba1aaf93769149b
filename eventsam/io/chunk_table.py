"""Chunk rows as tables: events to rows of packed words and back, whole or one row at a time, without a file.

See `chunk_rows` for the columns. The tables are pyarrow's, so that rows can be streamed, filtered and regrouped by
whatever moves tables (Ray Data) before they become events.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eventsam.events import COLUMNS, Events
from eventsam.io.block_recording import Columns
from eventsam.io.chunk_words import ESCAPE, MAX_SIDE, WORD, count_words, pack_words, unpack_words

ROW_US = 10_000
MAX_ROW_US = 3_600_000_000
MAX_ROW_EVENTS = 1 << 20
"""Events of one row; where more fall into its time it becomes several, each from its first to its last event."""
VERSION_KEY = "eventsam_chunk_rows"
FIELDS = [
    pa.field(name, kind, nullable=False)
    for name, kind in (("t0", pa.int64()), ("t1", pa.int64()), ("n", pa.int64()), ("ev", pa.large_binary()))
]
NAMES = [field.name for field in FIELDS]


def pack_rows(events: Events, row_us: int = ROW_US) -> pa.RecordBatch:
    """Return events as chunk rows: one per `row_us` (aligned to multiples of it) that holds any.

    The sensor size and `row_us` stand in the schema's metadata. Raises ValueError for a sensor of more than 2048 pixels
    a side, a row time outside 1 us to an hour, and times at the end of int64.
    """
    return pack_pieces(events, row_us, [])


def pack_pieces(events: Events, row_us: int, crowded: list[int]) -> pa.RecordBatch:
    """Return events as chunk rows as `pack_rows` does; rows numbered in `crowded` (t // row_us) come in pieces."""
    _check_packable(events, row_us)
    firsts, t0, t1 = _cut_rows(events.t, row_us, crowded)
    counts = count_words(events.t, t0, firsts)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    words = np.empty(int(offsets[-1]), WORD)
    pack_words(events.x, events.y, events.t, events.p, t0, firsts, words)
    buffers = [None, pa.py_buffer(offsets * WORD.itemsize), pa.py_buffer(words)]
    ev = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(t0), buffers)
    stated = {"height": events.height, "width": events.width, "row_us": row_us, VERSION_KEY: 1}
    schema = pa.schema(FIELDS, {key: str(value) for key, value in stated.items()})
    return pa.RecordBatch.from_arrays([pa.array(t0), pa.array(t1), pa.array(np.diff(firsts)), ev], schema=schema)


def unpack_rows(rows: pa.Table | pa.RecordBatch, height: int | None = None, width: int | None = None) -> Events:
    """Return the events of chunk rows in order, whatever other columns the table has.

    The sensor size is the one given, or else that of the schema's metadata. Raises ValueError where neither states it,
    where a row is damaged, and where rows do not follow each other in time.
    """
    stated = rows.schema.metadata or {}
    height = int(stated.get(b"height", 0)) if height is None else height
    width = int(stated.get(b"width", 0)) if width is None else width
    missing = [name for name in NAMES if name not in rows.schema.names]
    if missing:
        raise ValueError(f"chunk rows need columns {', '.join(NAMES)}; found {', '.join(rows.schema.names)}")
    if not height or not width:
        raise ValueError("the rows' metadata do not state the sensor size: give height and width")
    batches = [rows] if isinstance(rows, pa.RecordBatch) else rows.to_batches()
    counts = [stated_events(batch) for batch in batches]
    columns = allocate(sum(counts))
    unpack_batches(batches, counts, columns)
    return Events(*columns, height, width)


def unpack_blob(t0: int, blob: bytes | memoryview | pa.Buffer, height: int, width: int) -> Events:
    """Return the events of one row from its t0 and its `ev`; raise ValueError for a damaged one."""
    words = _words(np.frombuffer(blob, np.uint8))
    count = int(np.count_nonzero(words >> 23 != ESCAPE))
    x, y, t, p = allocate(count)
    start, end = np.array([t0], np.int64), np.array([np.iinfo(np.int64).max], np.int64)
    if unpack_words(words, np.array([0, len(words)]), start, end, np.array([0, count]), x, y, t, p) >= 0:
        raise ValueError(f"the row at {t0} us leaves the range of times")
    return Events(x, y, t, p, height, width)


def _cut_rows(
    t: NDArray[np.int64], row_us: int, crowded: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return each row's first event (R + 1), t0 and t1 (R); crowded rows come in pieces with bounds of their own."""
    if not len(t):
        return np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
    number = t // row_us
    firsts = np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1]]))
    sizes = np.diff(firsts, append=len(t))
    split = (sizes > MAX_ROW_EVENTS) | np.isin(number[firsts], crowded)
    if split.any():
        pieces = [np.arange(a, a + n, MAX_ROW_EVENTS if s else n) for a, n, s in zip(firsts, sizes, split, strict=True)]
        split = np.repeat(split, [len(piece) for piece in pieces])
        firsts = np.concatenate(pieces)
    ends = np.append(firsts[1:], len(t))
    t0 = np.where(split, t[firsts], number[firsts] * row_us)
    t1 = np.where(split, t[ends - 1] + 1, (number[firsts] + 1) * row_us)
    return np.append(firsts, len(t)), t0, t1


def _check_packable(events: Events, row_us: int) -> None:
    if max(events.height, events.width) > MAX_SIDE:
        raise ValueError(
            f"chunk rows hold sensors up to {MAX_SIDE} pixels a side, given {events.width}x{events.height}"
        )
    if not 1 <= row_us <= MAX_ROW_US:
        raise ValueError(f"row_us is {row_us}, allowed: 1 to {MAX_ROW_US}")
    limits = np.iinfo(np.int64)
    if len(events) and not limits.min + row_us <= int(events.t[0]) <= int(events.t[-1]) <= limits.max - row_us:
        raise ValueError(f"t runs from {events.t[0]} to {events.t[-1]} us: rows of {row_us} us would leave int64")


def stated_events(rows: pa.RecordBatch) -> int:
    """Return the sum of n; raise ValueError where a row states more events than it has words."""
    n = to_numbers(rows.column("n"))
    _, word_first = _blobs(rows.column("ev"))
    if (n < 0).any() or (n > np.diff(word_first)).any():
        raise ValueError("a row states more events than it has words")
    return int(n.sum())


def unpack_batches(batches: list[pa.RecordBatch], counts: list[int], columns: Columns) -> None:
    """Decode chunk rows into columns of exactly as many events as the counts say; raise ValueError for damaged rows."""
    first = 0
    for batch, count in zip(batches, counts, strict=True):
        words, word_first = _blobs(batch.column("ev"))
        t0, t1, n = (to_numbers(batch.column(name)) for name in ("t0", "t1", "n"))
        part = slice(first, first + count)
        x, y, t, p = columns[0][part], columns[1][part], columns[2][part], columns[3][part]
        event_first = np.concatenate([[0], np.cumsum(n)]).astype(np.int64)
        faulty = unpack_words(words, word_first, t0, t1, event_first, x, y, t, p)
        if faulty >= 0:
            raise ValueError(f"the row at {t0[faulty]} us does not hold {n[faulty]} events before {t1[faulty]} us")
        first += count


def _blobs(ev: pa.Array) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the words of all rows, and each row's first word (R + 1)."""
    if ev.null_count:
        raise ValueError(f"{ev.null_count} rows have no words (null)")
    ev = ev if pa.types.is_large_binary(ev.type) else ev.cast(pa.large_binary())
    if not len(ev):
        return _words(np.empty(0, np.uint8)), np.zeros(1, np.int64)
    _, offsets_buffer, data = ev.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, len(ev) + 1, ev.offset * 8)
    start, end = int(offsets[0]), int(offsets[-1])
    if (np.diff(offsets) % WORD.itemsize).any():
        raise ValueError("a row's words are not whole")
    words = _words(np.frombuffer(data, np.uint8, end - start, start) if end > start else np.empty(0, np.uint8))
    return words, (offsets - start) // WORD.itemsize


def _words(stored: NDArray[np.uint8]) -> NDArray[np.uint32]:
    if stored.size % WORD.itemsize:
        raise ValueError(f"{stored.size} bytes are no whole words of {WORD.itemsize}")
    # Compiled code wants aligned memory; a slice of a larger buffer need not be.
    aligned = stored if stored.ctypes.data % WORD.itemsize == 0 else stored.copy()
    words = aligned.view(WORD)
    # One kind of array, one compiled function: what lies in Arrow's buffers cannot be written either.
    words.flags.writeable = False
    return words


def to_numbers(column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a column of whole numbers; raise ValueError where one is missing."""
    if column.null_count:
        raise ValueError(f"{column.null_count} values are null")
    # Compiled once, for arrays that may be written: a view of an Arrow buffer is read-only.
    return np.array(
        column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy(), np.int64
    )


def allocate(count: int) -> Columns:
    """Return columns for so many events, not filled."""
    x, y, t, p = (np.empty(count, dtype) for dtype in COLUMNS.values())
    return x, y, t, p
