"""Events from one format to another, lossless in (x, y, t, p), in memory that does not grow with the recording."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from eventsam.events import Events
from eventsam.io.detect import find_format, formats
from eventsam.io.format import Format
from eventsam.io.recording import Recording


@dataclass(frozen=True)
class Converted:
    """What was written, and what of the recording was left behind: the formats hold events alone."""

    path: Path
    format: str
    num_events: int
    num_frames_left: int
    num_imu_left: int
    num_triggers_left: int


def convert(
    recording: Recording, out: Path, format_name: str | None = None, progress: Callable[[int], None] | None = None
) -> Converted:
    """Write a recording's events in another format; see `write_events` for names and errors.

    `progress` is told the number of events done so far.
    """
    entry = writable_format(out, format_name)
    done = 0

    def counted() -> Iterator[Events]:
        nonlocal done
        for chunk in recording.chunks():
            done += len(chunk)
            if progress is not None:
                progress(done)
            yield chunk

    write_events(out, counted(), recording.height, recording.width, entry.name)
    left = len(recording.frames()), len(recording.imu()), len(recording.triggers())
    return Converted(out, entry.name, done, *left)


def write_events(path: Path, chunks: Iterable[Events], height: int, width: int, format_name: str | None = None) -> None:
    """Write events that follow each other in time to a new file, whole or not at all.

    The format is the one named, or the only one with the path's suffix. Raises ValueError for an unknown or ambiguous
    name and for events that the format cannot hold, FileExistsError for a path that is there.
    """
    entry = writable_format(path, format_name)
    if path.exists():
        raise FileExistsError(f"{path} exists; choose another name or remove it")
    if entry.write is None:
        raise ValueError(_only_read(entry))
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        # The same name inside a folder of its own: some writers choose by the name.
        temporary = folder / path.name
        entry.write(temporary, chunks, height, width)
        temporary.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def writable_format(path: Path, format_name: str | None = None) -> Format:
    """Return the format to write: by name, or by the longest suffix that names one format; raise ValueError."""
    if format_name is not None:
        entry = find_format(format_name)
        if entry.write is None:
            raise ValueError(_only_read(entry))
        return entry
    # The longest suffix wins: recording.evt2.raw is EVT 2, recording.raw what .raw stands for.
    lengths = {
        entry.name: max((len(suffix) for suffix in entry.suffixes if path.name.endswith(suffix)), default=0)
        for entry in formats().values()
        if entry.write
    }
    longest = max(lengths.values(), default=0)
    found = [find_format(name) for name, length in lengths.items() if length == longest and longest]
    if len(found) != 1:
        names = ", ".join(entry.name for entry in found)
        why = f"may be {names}" if found else f"names no format that can be written ({_writable_names()})"
        raise ValueError(f"{path}: the suffix {why}; name the format")
    return found[0]


def _only_read(entry: Format) -> str:
    return f"{entry.title} can be read, not written; can be written: {_writable_names()}"


def _writable_names() -> str:
    return ", ".join(entry.name for entry in formats().values() if entry.write)
