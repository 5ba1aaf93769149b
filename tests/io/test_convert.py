"""Every pair of writable formats keeps (x, y, t, p); files appear whole or not at all."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eventsam.events import Events
from eventsam.io.convert import convert, writable_format, write_events
from eventsam.io.detect import detect_format, formats, open_recording
from eventsam.io.info import recording_info
from eventsam.io.recording import OpenOptions

WRITABLE = [name for name, entry in formats().items() if entry.write]
HEIGHT, WIDTH = 260, 346
EPOCH_US = 1_589_163_147_368_868
"""A time as cameras state it, since 1970: more than 32 bits."""


def made(t: np.ndarray, seed: int = 0) -> Events:
    generator = np.random.default_rng(seed)
    number = len(t)
    return Events.from_arrays(
        generator.integers(0, WIDTH, number), generator.integers(0, HEIGHT, number), t,
        generator.integers(0, 2, number), height=HEIGHT, width=WIDTH,
    )  # fmt: skip


def bursts() -> np.ndarray:
    """Times with equal neighbours, rows of a sensor read at once, and pauses past every counter's wrap."""
    generator = np.random.default_rng(1)
    steps = generator.choice([0, 0, 0, 1, 7, 300], 400)
    # 24 bits wrap after 17 s, 32 bits after 72 minutes.
    steps[[100, 200, 300]] = 20_000_000, 5_000_000_000, 9_000_000
    return np.cumsum(steps)


STREAMS = {
    "from_zero": made(bursts()),
    "epoch": made(EPOCH_US + np.cumsum(np.random.default_rng(2).integers(0, 50, 300))),
    "one_event": made(np.array([123_456])),
    "empty": Events.empty(HEIGHT, WIDTH),
}


def write(path: Path, events: Events, name: str) -> None:
    def chunks() -> Iterator[Events]:
        for first in range(0, len(events), 97):
            yield events.slice(first, min(first + 97, len(events)))

    write_events(path, chunks(), HEIGHT, WIDTH, name)


def suffix(name: str) -> str:
    return (*formats()[name].suffixes, ".events")[0]


def facts(path: Path) -> dict[str, object]:
    info = recording_info(open_recording(path))
    return {name: value for name, value in info.items() if name != "format"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Every stream in every writable format."""
    folder = tmp_path_factory.mktemp("written")
    files = {}
    for name, (stream, events) in itertools.product(WRITABLE, STREAMS.items()):
        path = folder / f"{stream}_{name}{suffix(name)}"
        write(path, events, name)
        files[name, stream] = path
    return files


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("stream", STREAMS)
def test_what_is_written_is_read(written: dict[tuple[str, str], Path], name: str, stream: str) -> None:
    path, events = written[name, stream], STREAMS[stream]
    assert detect_format(path).name == name
    read = open_recording(path).read()
    assert (read.height, read.width) == (HEIGHT, WIDTH)
    for column in "xytp":
        np.testing.assert_array_equal(getattr(read, column), getattr(events, column))


@pytest.mark.parametrize("target", WRITABLE)
@pytest.mark.parametrize("source", WRITABLE)
def test_every_pair_of_formats(written: dict[tuple[str, str], Path], tmp_path: Path, source: str, target: str) -> None:
    for stream in STREAMS:
        path = written[source, stream]
        out = tmp_path / f"{stream}{suffix(target)}"
        done = convert(open_recording(path), out, target)
        assert done.num_events == len(STREAMS[stream])
        assert facts(out) == facts(path)


@pytest.mark.parametrize("name", WRITABLE)
def test_any_window_equals_the_cut_of_the_whole(written: dict[tuple[str, str], Path], name: str) -> None:
    events = STREAMS["from_zero"]
    recording = open_recording(written[name, "from_zero"], OpenOptions(height=HEIGHT, width=WIDTH))
    edges = np.random.default_rng(3).integers(-10, int(events.t[-1]) + 10, (30, 2))
    for t0, t1 in [*np.sort(edges, axis=1).tolist(), (int(events.t[50]), int(events.t[60]) + 1)]:
        cut, expected = recording.events(t0, t1), events.between(t0, t1)
        for column in "xytp":
            np.testing.assert_array_equal(getattr(cut, column), getattr(expected, column))


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def breaks() -> Iterator[Events]:
        yield STREAMS["one_event"]
        raise OSError("the source is gone")

    for name in WRITABLE:
        with pytest.raises(OSError, match="the source is gone"):
            write_events(tmp_path / f"out{suffix(name)}", breaks(), HEIGHT, WIDTH, name)
        assert not list(tmp_path.iterdir()), name


@pytest.mark.parametrize(("file", "name"), [("a.raw", "evt3"), ("a.evt2.raw", "evt2"), ("a.b.npz", "npz")])
def test_the_longest_suffix_names_the_format(file: str, name: str) -> None:
    assert writable_format(Path(file)).name == name


def test_names_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    there = tmp_path / "there.npz"
    there.write_bytes(b"mine")
    for path, name, message in (
        (tmp_path / "a.npz", "evt33", "did you mean 'evt3'"),
        (tmp_path / "a.xyz", None, "names no format that can be written"),
        (there, None, "exists"),
    ):
        with pytest.raises((ValueError, FileExistsError), match=message):
            write_events(path, iter([]), HEIGHT, WIDTH, name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["there.npz"] and there.read_bytes() == b"mine"
