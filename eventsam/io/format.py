"""What a reader module declares about its formats, so that a file is all a new format takes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from eventsam.events import Events
from eventsam.io.recording import OpenOptions, Recording

Write = Callable[[Path, Iterable[Events], int, int], None]
"""write(path, chunks, height, width): write events that follow each other in time, in bounded memory.

Raises ValueError where the format cannot hold them (coordinates, sensor size, time), saying what it can hold. The path
is new and temporary: `eventsam.io.convert` renames it when all is written. A format of fixed time width keeps the exact
time by a line of its own in the header.
"""


@dataclass(frozen=True)
class Format:
    """One file format. Each module of `eventsam.io` that reads one names its formats in a tuple `FORMATS`.

    `matches(path, start)` says by content alone whether a path holds it: `start` is the file's first 4096 bytes, empty
    for a folder. `suffixes` name files for writing only; a format without any is written by name. `write` is None where
    the format is only read.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    matches: Callable[[Path, bytes], bool]
    open: Callable[[Path, OpenOptions], Recording]
    write: Write | None = None
