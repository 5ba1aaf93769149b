"""The first lines of a text recording: comments, `width height`, the order of the columns, the unit of the times.

A line of four column names (`named_columns`; also as a comment, `# timestamp(s) x y polarity`) gives the order, else it
is t x y p. Without a unit in the time's name, times with a decimal point or an exponent are seconds, and times that are
all whole (in the first 64 KiB) are microseconds.
"""

import re
from dataclasses import dataclass

from eventsam.io.named_columns import Unit, column_of, match_columns

HEADER_BYTES = 1 << 16
"""How much of a file's beginning is looked at."""
ORDER = ("x", "y", "t", "p")
POWERS: dict[Unit, int] = {"s": 6, "ms": 3, "us": 0, "ns": -3}

_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PARTS = re.compile(rb"[ \t]*,[ \t]*|[ \t]+")
OTHER_FORMATS = (b"#!AER-DAT", b"#ROSBAG")
"""Beginnings that only look like a comment."""


@dataclass(frozen=True)
class TextHeader:
    """What precedes the events: sensor size (height, width), byte where they begin, column of each field, time's unit.

    `has_events` is False where no line of four numbers follows.
    """

    size: tuple[int, int] | None
    begin: int
    fields: tuple[int, int, int, int]
    power: int
    has_events: bool


def read_text_header(start: bytes, is_whole: bool) -> TextHeader | None:
    """Return the header of a file that starts so; None where it is no text recording.

    `is_whole` says that `start` is all of the file, so that its last line needs no newline.
    """
    if start.startswith(OTHER_FORMATS):
        return None
    size: tuple[int, int] | None = None
    names: tuple[int, int, int, int] | None = None
    unit: Unit | None = None
    place = 0
    while place < len(start):
        end = start.find(b"\n", place)
        if end < 0 and not is_whole:
            break
        end = len(start) if end < 0 else end + 1
        line = start[place:end].strip()
        words = split(line.lstrip(b"# \t"))
        if line and names is None and (named := _named(words)) is not None:
            names, unit = named
        elif line and not line.startswith(b"#"):
            if len(words) == 4 and all(_NUMBER.fullmatch(word) for word in words):
                return _with_events(start[place:], TextHeader(size, place, names or (2, 0, 1, 3), 0, True), unit)
            if len(words) != 2 or size is not None or not all(word.isdigit() and len(word) < 6 for word in words):
                return None
            size = int(words[1]), int(words[0])
        place = end
    if size is None and names is None:
        return None
    return TextHeader(size, place, names or (2, 0, 1, 3), POWERS[unit or "s"], False)


def split(line: bytes) -> list[bytes]:
    """Return the fields of a line: parted by spaces, tabs or commas."""
    return _PARTS.split(line.strip(b" \t\r\n")) if line.strip() else []


def _named(words: list[bytes]) -> tuple[tuple[int, int, int, int], Unit | None] | None:
    """Return the column of each field, and the time's unit, where the words are column names."""
    names = [word.decode("ascii", "replace") for word in words]
    found = match_columns(names) if len(names) == 4 else None
    if found is None:
        return None
    columns = [ORDER.index(meaning[0]) for name in names if (meaning := column_of(name)) is not None]
    return (columns[0], columns[1], columns[2], columns[3]), found.unit


def _with_events(lines: bytes, header: TextHeader, unit: Unit | None) -> TextHeader:
    """Return the header with the unit of the times: stated, or told by the lines."""
    if unit is None:
        at = header.fields.index(2)
        whole = lines.splitlines()[: None if len(lines) < HEADER_BYTES else -1]
        times = [words[at] for line in whole if len(words := split(line)) == 4 and not line.startswith(b"#")]
        unit = "s" if any(set(time) & set(b".eE") for time in times) else "us"
    return TextHeader(header.size, header.begin, header.fields, POWERS[unit], True)
