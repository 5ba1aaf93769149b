"""Which reader opens a path: decided by what it holds, never by its name."""

import importlib
import pkgutil
from functools import cache
from pathlib import Path

import eventsam.io
from eventsam.io.format import Format
from eventsam.io.recording import OpenOptions, Recording, RecordingError
from eventsam.unknown_name import unknown_name

START_BYTES = 4096
"""How much of a file's beginning the formats are shown."""


@cache
def formats() -> dict[str, Format]:
    """Return every format by name: those that the modules of `eventsam.io` declare in `FORMATS`."""
    modules = (
        importlib.import_module(f"eventsam.io.{found.name}") for found in pkgutil.iter_modules(eventsam.io.__path__)
    )
    declared = [entry for module in modules for entry in getattr(module, "FORMATS", ())]
    return {entry.name: entry for entry in sorted(declared, key=lambda entry: entry.name)}


def find_format(name: str) -> Format:
    """Return the format of a name; raise ValueError with the nearest one."""
    if name not in formats():
        raise ValueError(unknown_name("format", name, formats()))
    return formats()[name]


def detect_format(path: Path) -> Format:
    """Return the format that a path's content has.

    Raises RecordingError saying how the content starts and what can be opened, FileNotFoundError for a path that is not
    there.
    """
    if path.is_dir():
        start = b""
    else:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
        if not start:
            raise RecordingError(f"{path}: the file is empty")
    found = [entry for entry in formats().values() if entry.matches(path, start)]
    if len(found) == 1:
        return found[0]
    titles = ", ".join(entry.title for entry in found or formats().values())
    if found:
        raise RecordingError(f"{path}: may be any of: {titles}; name the format")
    kind = "the folder holds no recording" if path.is_dir() else f"not recognised (starts with {start[:16]!r})"
    raise RecordingError(f"{path}: {kind}; can be opened: {titles}")


def open_recording(path: Path, options: OpenOptions | None = None, format_name: str | None = None) -> Recording:
    """Open a recording of any format; `format_name` overrides what the content says.

    Raises RecordingError for a file that cannot be read (named, with what is wrong), ValueError for an unknown format
    name, FileNotFoundError for a path that is not there.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    entry = detect_format(path) if format_name is None else find_format(format_name)
    return entry.open(path, options if options is not None else OpenOptions())
