"""The lines of a text recording as blocks of whole lines, indexed by one pass over the file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsam.events import COLUMNS
from eventsam.io.block_recording import BlockSource, BlockTable, Columns
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.recording import OpenOptions, RecordingError
from eventsam.io.text_header import TextHeader
from eventsam.io.text_lines import FAULTS, parse_lines

BLOCK_BYTES = 1 << 21
"""Bytes of text per block: some 80,000 events."""
WHOLE_BYTES = 1 << 25
"""A file of up to this many bytes stays in memory once it is parsed; of a longer one the index is kept between runs."""
MIN_LINE_BYTES = 8
"""Shortest line of four fields, with its newline."""


class TextSource(BlockSource):
    """Blocks of lines. A line that is no event is refused by its number."""

    def __init__(self, file: Path, header: TextHeader, size: tuple[int, int], options: OpenOptions) -> None:
        """Note how lines are read; nothing is read yet."""
        self._file, self._header, self._index_folder = file, header, options.index_folder
        self._fields = np.array(header.fields, np.int64)
        self._limits = size if options.outside == "refuse" else (0, 0)
        self._is_short = file.stat().st_size <= WHOLE_BYTES
        self._parsed: dict[int, Columns] = {}

    def table(self) -> BlockTable:
        """Parse the file once, for the number of events and the times of each block."""
        if self._is_short:
            return BlockTable(**self._measure())
        return BlockTable(**cached_index(self._file, f"text:{self._header}", self._index_folder, self._measure))

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Parse the lines of a block."""
        begin, size = int(place[0]), int(place[1])
        if begin in self._parsed:
            x[:], y[:], t[:], p[:] = self._parsed[begin]
            return
        with self._file.open("rb") as file:
            file.seek(begin)
            lines = file.read(size)
        if len(lines) != size or self._parse(lines, begin, (x, y, t, p)) != len(t):
            raise RecordingError(f"{self._file}: byte {begin}: the file has changed since it was indexed")

    def _measure(self) -> Arrays:
        room = BLOCK_BYTES // MIN_LINE_BYTES + 1
        x, y, t, p = (np.empty(room, dtype) for dtype in COLUMNS.values())
        rows = []
        for begin, lines in self._ranges():
            num = self._parse(lines, begin, (x, y, t, p))
            if num:
                if self._is_short:
                    self._parsed[begin] = x[:num].copy(), y[:num].copy(), t[:num].copy(), p[:num].copy()
                rows.append((num, int(t[:num].min()), int(t[:num].max()), begin, len(lines)))
        found = np.array(rows, np.int64).reshape(-1, 5)
        table = BlockTable(found[:, 0].copy(), found[:, 1].copy(), found[:, 2].copy(), found[:, 3:].copy())
        return table.to_arrays()

    def _ranges(self) -> Iterator[tuple[int, bytes]]:
        """Return (first byte, whole lines) of the blocks."""
        begin = self._header.begin
        with self._file.open("rb") as file:
            while True:
                file.seek(begin)
                lines = file.read(BLOCK_BYTES)
                if not lines:
                    return
                end = len(lines) if len(lines) < BLOCK_BYTES else lines.rfind(b"\n") + 1
                if not end:
                    raise RecordingError(f"{self._file}: byte {begin}: a line longer than {BLOCK_BYTES} bytes")
                yield begin, lines[:end]
                begin += end

    def _parse(self, lines: bytes, begin: int, columns: Columns) -> int:
        """Parse whole lines into the front of the columns; return the number of events."""
        # The parser stops at newlines alone, so the file's last line needs one.
        data = np.frombuffer(lines if lines.endswith(b"\n") else lines + b"\n", np.uint8)
        x, y, t, p = columns
        num, place, fault = parse_lines(data, self._fields, self._header.power, *self._limits, x, y, t, p)
        if fault:
            raise self._fault(begin + int(place), int(fault))
        return int(num)

    def _fault(self, place: int, fault: int) -> RecordingError:
        number, rest = 1, place
        with self._file.open("rb") as file:
            while rest > 0 and (part := file.read(min(rest, 1 << 20))):
                number += part.count(b"\n")
                rest -= len(part)
            line = file.read(80).split(b"\n")[0].decode("utf-8", "replace")
        order = " ".join(("x", "y", "t", "p")[column] for column in self._header.fields)
        return RecordingError(
            f"{self._file}: line {number} (byte {place}) is {line!r}: {FAULTS[fault]}; expected `{order}`"
        )
