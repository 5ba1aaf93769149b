"""The header of Prophesee files: text lines `% key value`, then binary data.

Source: Prophesee, "RAW File Format" and "DAT File Format" (docs.prophesee.ai): a line starts with `% ` and ends with a
line feed; a line `% end` closes the header but may be missing.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eventsam.io.recording import OpenOptions, RecordingError
from eventsam.io.sidecar import sidecar_size

MAX_LINE_BYTES = 1 << 16
MAX_HEADER_BYTES = 1 << 26
"""A file of nothing but header lines is read this far: real headers have some hundred bytes."""

SENSORS = (
    ("gen3", (480, 640)), ("gen31", (480, 640)), ("gen4", (720, 1280)), ("gen41", (720, 1280)),
    ("imx636", (720, 1280)), ("imx646", (720, 1280)), ("genx320", (320, 320)),
)  # fmt: skip
"""Height and width of Prophesee's sensors by the name that the recording plugin's holds: early files state no more."""


@dataclass(frozen=True)
class PropheseeHeader:
    """All lines of a header, known or not: `lines` holds (key, value) in file order.

    `size` is where the data start, in bytes. `cut` says that the file ends within a header line.
    """

    lines: tuple[tuple[str, str], ...]
    size: int
    cut: bool

    def get(self, key: str) -> str | None:
        """Return the value of the first line with a key, upper and lower case alike; None where there is none."""
        return next(iter(self.all(key)), None)

    def all(self, key: str) -> list[str]:
        """Return the values of all lines with a key."""
        return [value for name, value in self.lines if name.lower() == key.lower()]

    @property
    def encoding(self) -> tuple[str, dict[str, str]]:
        """The line `format NAME;key=value;...` as a name and options, in lower case; empty where there is none."""
        name, *options = (self.get("format") or "").lower().split(";")
        pairs = (option.partition("=") for option in options)
        return name.strip(), {key.strip(): value.strip() for key, _, value in pairs}


def read_header(path: Path) -> PropheseeHeader:
    """Read the header of a file; one without a header gives no lines and size 0.

    Where `% end` is missing only the look of a line tells it from data, and data may start with `%` too: so a header
    line is `% `, a letter, printable text, a line feed. A line without text counts where a header line follows.
    """
    lines: list[tuple[str, str]] = []
    position = size = 0
    with path.open("rb") as file:
        while position < MAX_HEADER_BYTES:
            line = file.readline(MAX_LINE_BYTES)
            position += len(line)
            text = _text(line)
            if text is None:
                at_end = not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES
                return PropheseeHeader(tuple(lines), size, cut=at_end and bool(_text(line + b"\n")))
            if not text:
                continue
            size = position
            key, _, value = text.partition(" ")
            if key.lower() == "end" and not value:
                return PropheseeHeader(tuple(lines), size, cut=False)
            lines.append((key, value.strip()))
    raise RecordingError(f"{path}: the header does not end within {MAX_HEADER_BYTES} bytes")


def write_header(lines: Iterable[tuple[str, str]], *, end: bool) -> bytes:
    """Return header lines as bytes, with `% end` after them where `end` is set."""
    text = "".join(f"% {key} {value}\n" for key, value in lines)
    return (text + ("% end\n" if end else "")).encode()


def stated_size(path: Path, header: PropheseeHeader) -> tuple[int, int] | None:
    """Return (height, width) as the lines format, geometry, height and width state it, None where none does.

    Raises RecordingError where a line cannot be read or lines disagree.
    """
    sizes = set()
    if (geometry := header.get("geometry")) is not None:
        sides = re.fullmatch(r"(\d{1,9})x(\d{1,9})", geometry, re.ASCII)
        if sides is None:
            raise RecordingError(f"{path}: header line 'geometry {geometry[:40]}': expected WIDTHxHEIGHT")
        sizes.add((int(sides[2]), int(sides[1])))
    options = header.encoding[1]
    for height, width in ((options.get("height"), options.get("width")), (header.get("height"), header.get("width"))):
        if height is not None and width is not None:
            sizes.add((_side(path, "height", height), _side(path, "width", width)))
    if len(sizes) > 1:
        listed = " and ".join(f"height {height}, width {width}" for height, width in sorted(sizes))
        raise RecordingError(f"{path}: the header contradicts itself about the sensor: {listed}")
    return sizes.pop() if sizes else None


def sensor_size(path: Path, header: PropheseeHeader, options: OpenOptions) -> tuple[int, int]:
    """Return (height, width) from the header, else the options, else a sidecar, else the camera that the header names.

    Raises RecordingError without any.
    """
    stated = stated_size(path, header)
    if stated is None and options.height is None:
        stated = sidecar_size(path.parent) or _camera_size(header)
    return options.size(path, stated)


def refuse_cut(path: Path, header: PropheseeHeader) -> None:
    """Raise RecordingError where the file ends within the header."""
    if header.cut:
        raise RecordingError(f"{path}: truncated at byte {path.stat().st_size}, within a line of the header")


def _camera_size(header: PropheseeHeader) -> tuple[int, int] | None:
    """Return the whole sensor's size by the line `plugin_name`, as in `hal_plugin_gen41_evk3`; None for others."""
    plugin = (header.get("plugin_name") or "").lower()
    return next((size for sensor, size in SENSORS if f"_{sensor}_" in f"{plugin}_"), None)


def _text(line: bytes) -> str | None:
    """Return what a header line says, empty for one without text, None for what is no header line."""
    if not (line.startswith((b"% ", b"%\n", b"%\r\n")) and line.endswith(b"\n")):
        return None
    try:
        text = line[1:].decode().replace("\t", " ").strip(" \r\n")
    except UnicodeDecodeError:
        return None
    return text if not text or (text.isprintable() and text[0].isalpha()) else None


def _side(path: Path, name: str, value: str) -> int:
    if re.fullmatch(r"\d{1,9}", value, re.ASCII) is None:
        raise RecordingError(f"{path}: header states {name} {value[:40]!r}, expected a number of pixels")
    return int(value)
