"""Times that a Prophesee file cannot hold: lines of our own in its header say what to add, and from which event on.

`% eventsam_t_offset_us N` adds N to every time. `% eventsam_t_pause_us INDEX N` adds N more from event number INDEX on,
where a pause is longer than the format can tell. Other readers see the events, earlier by as much.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsam.io.block_recording import BlockSource, BlockTable
from eventsam.io.prophesee_header import PropheseeHeader
from eventsam.io.prophesee_words import WordSource
from eventsam.io.recording import RecordingError, Triggers

OFFSET_KEY, PAUSE_KEY = "eventsam_t_offset_us", "eventsam_t_pause_us"
SMALLEST, LARGEST = (int(limit) for limit in (np.iinfo(np.int64).min, np.iinfo(np.int64).max))


def shift_lines(shifts: Sequence[tuple[int, int]]) -> list[tuple[str, str]]:
    """Return the header lines of (event number, us) in order; number 0 is the offset of all."""
    return [(PAUSE_KEY, f"{number} {us}") if number else (OFFSET_KEY, str(us)) for number, us in shifts]


def read_shifts(path: Path, header: PropheseeHeader) -> list[tuple[int, int]]:
    """Return (event number, us to add in all from there on) in order; raise RecordingError for lines that say else."""
    found: list[tuple[int, int]] = []
    total = 0
    for line in [f"0 {value}" for value in header.all(OFFSET_KEY)] + header.all(PAUSE_KEY):
        numbers = re.fullmatch(r"(\d{1,18}) (-?\d{1,20})", line, re.ASCII)
        if numbers is None:
            raise RecordingError(f"{path}: header line about times says {line[:60]!r}, expected whole numbers")
        number, total = int(numbers[1]), total + int(numbers[2])
        if not SMALLEST <= total <= LARGEST or (found and number <= found[-1][0]):
            raise RecordingError(f"{path}: header line about times says {line[:60]!r}, out of order or too large")
        found.append((number, total))
    return found


def shifted(source: WordSource, path: Path, header: PropheseeHeader) -> tuple[BlockSource, Callable[[], Triggers]]:
    """Return the events and triggers of a source with the times that the header's lines give them."""
    shifts = read_shifts(path, header)
    if not shifts:
        return source, source.triggers
    with_shifts = ShiftedSource(source, shifts)
    return with_shifts, with_shifts.triggers


class ShiftedSource(BlockSource):
    """A source whose times move by what is due at each event's number."""

    def __init__(self, source: WordSource, shifts: Sequence[tuple[int, int]]) -> None:
        """Keep (event number, us) in order of the numbers."""
        self._source = source
        self._numbers = np.array([number for number, _ in shifts], np.int64)
        self._totals = np.array([us for _, us in shifts], np.int64)

    def table(self) -> BlockTable:
        """Return the blocks with moved times; `place` starts with the number of the block's first event."""
        inner = self._source.table()
        firsts = np.cumsum(inner.count) - inner.count
        full = inner.count > 0
        if full.any() and int(inner.t_max[full].max()) + int(self._totals.max()) > LARGEST:
            raise RecordingError(f"{self._source.path}: the header moves times beyond what 64 bits hold")
        due = self._due(firsts)
        t_min, t_max = np.where(full, inner.t_min + due, 0), np.where(full, inner.t_max + due, 0)
        place = np.concatenate([firsts[:, None], inner.place], axis=1)
        for block in np.flatnonzero(self._due(firsts + np.maximum(inner.count, 1) - 1) != due):
            # A pause within the block: its ends are known by decoding it.
            x, y, t, p = (np.empty(inner.count[block], kind) for kind in (np.uint16, np.uint16, np.int64, np.uint8))
            self.read_into(place[block], x, y, t, p)
            t_min[block], t_max[block] = t.min(), t.max()
        return BlockTable(inner.count, t_min, t_max, place)

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the block and move its times."""
        self._source.read_into(place[1:], x, y, t, p)
        first = int(place[0])
        inside = self._numbers[(self._numbers > first) & (self._numbers < first + len(t))] - first
        for a, b in zip([0, *inside], [*inside, len(t)], strict=True):
            t[a:b] += self._due(np.array([first + a]))[0]

    def triggers(self) -> Triggers:
        """Return the triggers, moved by the offset of all: files with pauses of ours hold none."""
        found = self._source.triggers()
        return Triggers(found.t + self._due(np.zeros(1, np.int64))[0], found.source, found.edge)

    def _due(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what to add to the events of these numbers."""
        passed = np.searchsorted(self._numbers, numbers, side="right")
        return np.concatenate([[0], self._totals])[passed]
