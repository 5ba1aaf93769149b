"""The lines of text that AEDAT files before version 4 start with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_LINE = 1 << 14
"""Bytes of the longest line looked for; jAER's longest are values of its preferences."""

_ENDS = ("end of ascii header", "!end-header")
"""What follows the `#` of a last line, in version 2 (modern jAER) and in version 3.1."""
_NOT_TEXT = frozenset(range(32)) - {9} | {127}


@dataclass(frozen=True)
class AedatHeader:
    """The format's version, the lines without `#` and line end, and where the data starts."""

    version: str
    lines: tuple[str, ...]
    end: int

    def value(self, key: str) -> str | None:
        """Return what follows `key:` (or `key` and a space) in the first line that starts so, whatever the case."""
        for line in self.lines:
            rest = line[len(key) :]
            if line.lower().startswith(key.lower()) and rest[:1] in (":", " "):
                return rest.lstrip(": ").strip()
        return None


def read_aedat_header(data: NDArray[np.uint8]) -> AedatHeader:
    """Read the header of a whole file; raise ValueError where the first line does not name the version.

    The first event may look like another `#`, so a line counts only if it is text up to CR LF. An event's bytes are
    not: the lowest of an address or the highest of its time are control characters.
    """
    lines: list[str] = []
    position = 0
    while (line := _line(data, position)) is not None:
        position += len(line) + 2
        lines.append(line[1:].decode("latin-1").strip())
        if lines[-1].lower() in _ENDS:
            break
    if not lines or not lines[0].startswith("!AER-DAT"):
        raise ValueError(f"not an AEDAT file: starts with {data[:16].tobytes()!r}")
    return AedatHeader(lines[0].removeprefix("!AER-DAT"), tuple(lines[1:]), position)


def _line(data: NDArray[np.uint8], position: int) -> bytes | None:
    window = data[position : position + MAX_LINE].tobytes()
    end = window.find(b"\r\n") if window[:1] == b"#" else -1
    line = window[:end]
    return line if end >= 0 and _NOT_TEXT.isdisjoint(line) else None
