"""Recordings that are streams of fixed-size words: what the Prophesee readers share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsam.io.block_recording import BlockRecording, BlockSource, BlockTable
from eventsam.io.index_cache import Arrays, cached_index
from eventsam.io.mapped_file import map_file
from eventsam.io.recording import OpenOptions, RecordingError, Triggers

INDEXED_BYTES = 8 << 20
"""Files from this size on keep their index between runs; smaller ones are scanned in some milliseconds."""

MAPPED_BYTES = 256 << 20
"""Files up to this size are mapped, which spares a copy; of larger ones the pages looked at would count as memory."""

INDEX = {"count", "t_min", "t_max", "place"}
FIRST_WORD, NUM_TRIGGERS, STATE = 0, 1, 2
"""Columns of a block's place; the decoder's state follows from STATE on."""


@dataclass(frozen=True)
class WordCodec:
    """How the words of one encoding become events: loops over the words of one block.

    Each loop starts in the state that the words before have left, int64 (S,); `start` is the state before the first.
    `scan(words, state, found)` moves the state past the words and writes the number of events, their smallest and
    largest time and the number of triggers to `found` (4,). `decode(words, state, x, y, t, p)` fills the columns and
    returns the number of events, never more than their length. `triggers(words, state, t, source, edge)` does so for
    triggers; None where the encoding has none. All of them ignore words that the encoding does not define.
    """

    name: str
    dtype: np.dtype[Any]
    block_words: int
    start: tuple[int, ...]
    scan: Callable[[NDArray[Any], NDArray[np.int64], NDArray[np.int64]], None]
    decode: Callable[..., int]
    triggers: Callable[..., int] | None


class WordSource(BlockSource):
    """The words of a file from byte `offset` on, in blocks of a fixed number of words."""

    def __init__(self, path: Path, offset: int, codec: WordCodec, options: OpenOptions) -> None:
        """Count the words; raise RecordingError where the file ends within one."""
        self.path, self._offset, self._codec, self._options = path, offset, codec, options
        num_bytes = path.stat().st_size
        self._num_words, rest = divmod(max(num_bytes - offset, 0), codec.dtype.itemsize)
        if rest or num_bytes < offset:
            raise RecordingError(
                f"{path}: truncated at byte {num_bytes}, within a word of {codec.dtype.itemsize} bytes"
            )
        self._mapped = map_file(path) if 0 < num_bytes <= MAPPED_BYTES else None
        self._table: BlockTable | None = None

    def table(self) -> BlockTable:
        """Return the table of blocks, from the stored index of a large file or by reading the whole file once."""
        if self._table is None:
            large = self._num_words * self._codec.dtype.itemsize >= INDEXED_BYTES
            key = f"{self._codec.name}:{self._offset}:{self._codec.block_words}"
            folder = self._options.index_folder
            arrays = cached_index(self.path, key, folder, self._scan) if large else self._scan()
            self._table = BlockTable(**(arrays if arrays.keys() == INDEX else self._scan()))
        return self._table

    def _scan(self) -> Arrays:
        codec = self._codec
        firsts = np.arange(0, self._num_words, codec.block_words, dtype=np.int64)
        found = np.zeros((len(firsts), 4), np.int64)
        place = np.empty((len(firsts), STATE + len(codec.start)), np.int64)
        state = np.array(codec.start, np.int64)
        for number, first in enumerate(firsts):
            place[number, STATE:] = state
            codec.scan(self._words(int(first)), state, found[number])
        place[:, FIRST_WORD], place[:, NUM_TRIGGERS] = firsts, found[:, 3]
        count, t_min, t_max = (np.ascontiguousarray(found[:, i]) for i in range(3))
        return {"count": count, "t_min": t_min, "t_max": t_max, "place": place}

    def read_into(
        self, place: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64],
        p: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Decode the block at `place`; raise RecordingError where it no longer holds as many events."""
        words = self._words(int(place[FIRST_WORD]))
        num_events = self._codec.decode(words, place[STATE:].copy(), x, y, t, p)
        if num_events != len(t):
            raise RecordingError(
                f"{self.path}: {self._where(place)} holds {num_events} events, its index says {len(t)}"
            )

    def triggers(self) -> Triggers:
        """Return the external triggers; only blocks that hold some are read."""
        decode, parts = self._codec.triggers, [Triggers.empty()]
        for place in self.table().place:
            if decode is not None and place[NUM_TRIGGERS]:
                part = Triggers(*(np.zeros(place[NUM_TRIGGERS], kind) for kind in (np.int64, np.uint8, np.uint8)))
                decode(self._words(int(place[FIRST_WORD])), place[STATE:].copy(), part.t, part.source, part.edge)
                parts.append(part)
        t, source, edge = (np.concatenate([getattr(part, name) for part in parts]) for name in ("t", "source", "edge"))
        return Triggers(t, source, edge)

    def _words(self, first: int) -> NDArray[Any]:
        count = min(self._codec.block_words, self._num_words - first)
        start = self._offset + first * self._codec.dtype.itemsize
        if self._mapped is not None:
            words = np.frombuffer(self._mapped, self._codec.dtype, count, start)
        else:
            words = np.frombuffer(self._read(start, count * self._codec.dtype.itemsize), self._codec.dtype)
        # Headers have any length, so mapped words lie anywhere: one flag for all, one version of each loop.
        words.flags.aligned = False
        return words

    def _read(self, start: int, num_bytes: int) -> bytes:
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            data = file.read(num_bytes)
        if len(data) != num_bytes:
            raise RecordingError(f"{self.path}: ends at byte {start + len(data)}, it was longer when it was opened")
        return data

    def _where(self, place: NDArray[np.int64]) -> str:
        return f"the block at byte {self._offset + int(place[FIRST_WORD]) * self._codec.dtype.itemsize}"


class WordRecording(BlockRecording):
    """A recording over words, with the external triggers that stand between the events."""

    def __init__(
        self,
        name: str,
        path: Path,
        size: tuple[int, int],
        source: BlockSource,
        triggers: Callable[[], Triggers],
        options: OpenOptions,
    ) -> None:
        """Read the table of blocks."""
        super().__init__(name, path, size, source, options)
        self._read_triggers = triggers

    def triggers(self) -> Triggers:
        """Return the external triggers."""
        return self._read_triggers()
