"""Reading Prophesee files whole, from opening to columns in memory, against other decoders.

Ours opens each file as if for the first time: the index is built anew every round. The files are what our own writers
make of a 1280x720 stream and lie in the system's cache.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.race import Row, race, speed_row
from benchmarks.texture_stream import texture_stream
from eventsam.io.convert import write_events
from eventsam.io.detect import open_recording
from eventsam.io.recording import CHUNK_EVENTS, OpenOptions

HEIGHT, WIDTH = 720, 1280
GOALS = {"evt3": 1.0, "faery": 2.0, "expelliarmus": 1.5}
PEERS = {"evt3": ("evt3", "faery", "expelliarmus"), "evt2": ("faery", "expelliarmus"), "dat": ("faery", "expelliarmus")}
"""Which peers read which format; expelliarmus gets the times of EVT 3 wrong, its speed still counts."""

logger = logging.getLogger(__name__)


def rows(quick: bool) -> Iterator[Row]:
    """Race over 1e7 events (1e6 if quick) of each format."""
    num_events = 1_000_000 if quick else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        stream = texture_stream(num_events, HEIGHT, WIDTH)
        for name, peers in PEERS.items():
            file, index = Path(folder) / f"stream.{'dat' if name == 'dat' else 'raw'}", Path(folder) / "index"
            firsts = range(0, num_events, CHUNK_EVENTS)
            chunks = (stream.slice(i, min(i + CHUNK_EVENTS, num_events)) for i in firsts)
            write_events(file, chunks, HEIGHT, WIDTH, name)
            readers = {peer: read for peer in peers if (read := _reader(peer, name, file)) is not None}
            seconds = race({"ours": _ours(file, index)} | readers, rounds=5 if quick else 9)
            for peer in readers:
                title = f"decode {name.upper()} from file, {num_events:.0e} events: {peer}"
                yield speed_row(title, seconds["ours"], seconds[peer], GOALS[peer], num_events)
            file.unlink()


def _ours(file: Path, index: Path) -> Callable[[], object]:
    def read() -> object:
        shutil.rmtree(index, ignore_errors=True)
        return open_recording(file, OpenOptions(index_folder=index)).read()

    return read


def _reader(peer: str, name: str, file: Path) -> Callable[[], object] | None:
    try:
        module = import_module(peer)
    except ImportError:
        logger.info("skipped: %s is not installed", peer)
        return None
    if peer == "evt3":
        return lambda: _columns(module.decode_file(str(file)))
    if peer == "faery":
        return lambda: module.events_stream_from_file(file).to_array()
    return lambda: module.Wizard(encoding=name).read(fpath=str(file))


def _columns(events: Any) -> tuple[Any, ...]:
    return events.x, events.y, events.timestamp, events.polarity
