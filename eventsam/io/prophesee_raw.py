"""Prophesee RAW recordings: a text header that names the encoding, then EVT 2.0, 2.1 or 3.0 words; read and written."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from eventsam.events import Events
from eventsam.io import evt2, evt3, evt21
from eventsam.io.evt3_encode import Evt3Encoder
from eventsam.io.format import Format
from eventsam.io.prophesee_header import PropheseeHeader, read_header, refuse_cut, sensor_size
from eventsam.io.prophesee_time import shifted
from eventsam.io.prophesee_words import WordCodec, WordRecording, WordSource
from eventsam.io.prophesee_write import Encode, WordLayout, write_words
from eventsam.io.recording import OpenOptions, Recording, RecordingError

CODECS: dict[str, WordCodec] = {
    codec.name: codec for codec in (evt2.CODEC, evt21.CODEC, evt21.LEGACY_CODEC, evt3.CODEC)
}
TITLES = {
    "evt2": "Prophesee RAW EVT 2.0",
    "evt21": "Prophesee RAW EVT 2.1",
    "evt21_legacy": "Prophesee RAW EVT 2.1, halves swapped (IMX636)",
    "evt3": "Prophesee RAW EVT 3.0",
}
NAMES = {"evt2": "evt2", "evt2.0": "evt2", "evt21": "evt21", "evt2.1": "evt21", "evt3": "evt3", "evt3.0": "evt3"}
"""What the header's lines `format NAME` and `evt VERSION` call the encodings."""

MAX_SIDE = 1 << 11
END_T_US = 1 << 34
"""Times below this (4.8 hours) are written as they are: as far as EVT 2 counts without a loop."""
ORDER_WORDS = 1 << 16


def raw_encoding(path: Path, header: PropheseeHeader) -> str | None:
    """Return the name of the encoding that a RAW file's header states, None where it states none that can be read.

    The order of the halves of EVT 2.1 is looked up in the words where the header does not say it.
    """
    name, options = header.encoding
    stated = name or "evt" + (header.get("evt") or "").strip().lower()
    encoding = NAMES.get(stated)
    if encoding != "evt21":
        return encoding
    order = options.get("endianness")
    if order is None:
        with path.open("rb") as file:
            file.seek(header.size)
            data = file.read(8 * ORDER_WORDS)
        order = "legacy" if evt21.is_legacy(np.frombuffer(data[: len(data) // 8 * 8], np.uint64)) else "little"
    return {"legacy": "evt21_legacy", "little": "evt21"}.get(order)


def _matches(name: str, path: Path, start: bytes) -> bool:
    return start.startswith(b"% ") and raw_encoding(path, read_header(path)) == name


def _open(name: str, path: Path, options: OpenOptions) -> Recording:
    header = read_header(path)
    refuse_cut(path, header)
    stated = raw_encoding(path, header)
    if stated not in (name, None):
        raise RecordingError(f"{path}: the header states {stated}, to be read as {name}")
    size = sensor_size(path, header, options)
    source, triggers = shifted(WordSource(path, header.size, CODECS[name], options), path, header)
    return WordRecording(name, path, size, source, triggers, options)


def _header_lines(version: str, encoding: str, height: int, width: int) -> list[tuple[str, str]]:
    # The integrator and plugin lines let Prophesee's own tools open the file.
    return [
        ("camera_integrator_name", "Prophesee"),
        ("evt", version),
        ("format", f"{encoding};height={height};width={width}"),
        ("generator", "eventsam"),
        ("geometry", f"{width}x{height}"),
        ("plugin_integrator_name", "Prophesee"),
        ("plugin_name", "hal_plugin_prophesee"),
    ]


def _layout(name: str, version: str, encoding: str, max_pause_us: int, encoder: Callable[[], Encode]) -> WordLayout:
    lines = partial(_header_lines, version, encoding)
    return WordLayout(TITLES[name], MAX_SIDE, END_T_US, max_pause_us, lines, True, b"", encoder)


LAYOUTS = {
    # Longer pauses than these would take thousands of TIME_HIGH words to count the loops.
    "evt2": _layout("evt2", "2.0", "EVT2", 1 << 40, evt2.Evt2Encoder),
    "evt21": _layout("evt21", "2.1", "EVT21;endianness=little", 1 << 40, partial(evt21.Evt21Encoder, False)),
    "evt21_legacy": _layout(
        "evt21_legacy", "2.1", "EVT21;endianness=legacy", 1 << 40, partial(evt21.Evt21Encoder, True)
    ),
    "evt3": _layout("evt3", "3.0", "EVT3", 1 << 34, Evt3Encoder),
}
SUFFIXES = {
    "evt2": (".evt2.raw", ".evt2"),
    "evt21": (".evt21.raw", ".evt21"),
    "evt21_legacy": (".evt21_legacy.raw",),
    "evt3": (".raw", ".evt3"),
}
"""A plain `.raw` is written as EVT 3.0, the default of Prophesee's sensors."""


def _write(name: str, path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    write_words(path, chunks, height, width, LAYOUTS[name])


FORMATS = tuple(
    Format(name, title, SUFFIXES[name], partial(_matches, name), partial(_open, name), partial(_write, name))
    for name, title in TITLES.items()
)
