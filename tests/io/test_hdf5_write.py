"""DSEC, MVSEC and generic HDF5 as we write them: lossless, indexed, and refused where they cannot hold the events."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.events import Events, trusted
from eventsam.io.convert import write_events
from eventsam.io.detect import open_recording
from eventsam.io.hdf5_write import CHUNK_ROWS
from eventsam.io.recording import OpenOptions, RecordingError

EPOCH = 1_600_000_000_000_000


def sample(num: int, start: int = EPOCH, step: int = 8, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    t = start + np.cumsum(rng.integers(0, step, num))
    x, y = rng.integers(0, 346, num, np.uint16), rng.integers(0, 260, num, np.uint16)
    return Events(x, y, t, rng.integers(0, 2, num, np.uint8), 260, 346)


def written(path: Path, name: str, events: Events, parts: int = 3) -> Path:
    limits = np.linspace(0, len(events), parts + 1).astype(int).tolist()
    chunks = [events.slice(first, end) for first, end in itertools.pairwise(limits)]
    write_events(path, chunks, events.height, events.width, name)
    return path


def same(first: Events, second: Events) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in "xytp")


@pytest.mark.parametrize("name", ["dsec", "mvsec", "hdf5"])
def test_long_recordings_come_back(tmp_path: Path, name: str) -> None:
    events = sample(300_000)
    recording = open_recording(written(tmp_path / f"{name}.h5", name, events, parts=7))
    assert (recording.format, recording.height, recording.width) == (name, 260, 346)
    assert same(recording.read(), events)
    starts = [int(events.t[i]) for i in (0, 1, 65_535, 65_536, 131_072, 299_999)]
    for t0 in starts:
        assert same(recording.events(t0, t0 + 5000), events.between(t0, t0 + 5000))
    position = 0
    for chunk in recording.chunks(50_000):
        assert same(chunk, events.slice(position, position + len(chunk)))
        position += len(chunk)
    assert position == len(events)


def test_a_dsec_file_is_blosc_with_an_exact_index(tmp_path: Path) -> None:
    events = sample(200_000, step=40)
    path = written(tmp_path / "events.h5", "dsec", events, parts=5)
    with h5py.File(path) as file:
        t, index = file["events/t"][:], file["ms_to_idx"][:]
        assert int(file["t_offset"][()]) == events.t[0]
        assert t.dtype == np.uint32 and np.array_equal(t, events.t - events.t[0])
        assert np.array_equal(index, np.searchsorted(t, np.arange(len(index)) * 1000))
        assert len(index) == t[-1] // 1000 + 1
        for name in ("x", "y", "t", "p"):
            dataset = file[f"events/{name}"]
            assert dataset.chunks == (CHUNK_ROWS,)
            assert dataset.id.get_create_plist().get_filter(0)[0] == hdf5plugin.Blosc.filter_id
        assert (file.attrs["height"], file.attrs["width"]) == (260, 346)
    assert path.stat().st_size < 9 * len(events)


def dsec(path: Path, events: Events, index: np.ndarray | None = None) -> Path:
    t = events.t - events.t[0]
    with h5py.File(path, "w") as file:
        for name, value in {"x": events.x, "y": events.y, "t": t.astype("u4"), "p": events.p}.items():
            file.create_dataset(f"events/{name}", data=value, chunks=(4096,), **hdf5plugin.Blosc(cname="zstd"))
        file["t_offset"] = events.t[0]
        file["ms_to_idx"] = np.searchsorted(t, np.arange(t[-1] // 1000 + 1) * 1000) if index is None else index
    return path


def test_dsec_defines_its_sensor_and_opens_by_its_index(tmp_path: Path) -> None:
    events = sample(400_000, step=20)
    recording = open_recording(dsec(tmp_path / "events.h5", events))
    assert (recording.height, recording.width) == (480, 640)
    assert same(recording.read(), events)
    table = recording._source.table()
    # Times known to the millisecond: the file's times were not all read.
    assert len(table.count) > 2 and ((table.t_min[1:] - events.t[0]) % 1000 == 0).all()
    sized = open_recording(tmp_path / "events.h5", OpenOptions(height=260, width=346, backward="sort"))
    assert (sized.height, sized.width) == (260, 346)
    assert same(sized.read(), events)
    t0 = int(events.t[250_000])
    assert same(sized.events(t0, t0 + 9999), events.between(t0, t0 + 9999))


@pytest.mark.parametrize("shift", [1, 3000, -5])
def test_an_index_that_is_not_exact_is_left_aside(tmp_path: Path, shift: int) -> None:
    events = sample(400_000, step=20)
    t = events.t - events.t[0]
    index = np.clip(np.searchsorted(t, np.arange(t[-1] // 1000 + 1) * 1000) + shift, 0, len(t))
    index[0] = 0
    recording = open_recording(dsec(tmp_path / "events.h5", events, index))
    assert same(recording.read(), events)


def test_an_index_of_nothing_is_left_aside(tmp_path: Path) -> None:
    events = sample(300_000, step=20)
    for index in (np.zeros(100, "u8"), np.full(100, 2**63, "u8"), np.arange(100)[::-1], np.zeros(0, "u8"), np.zeros(9)):
        assert same(open_recording(dsec(tmp_path / f"{index[:1]}.h5", events, index)).read(), events)


def test_spans_beyond_dsec_keep_their_times(tmp_path: Path) -> None:
    events = sample(CHUNK_ROWS + 100, start=0)
    t = events.t.copy()
    t[-50:] += EPOCH
    events = trusted(events.x, events.y, t, events.p, 260, 346)
    path = written(tmp_path / "gap.h5", "dsec", events, parts=3)
    assert same(open_recording(path).read(), events)
    with h5py.File(path) as file:
        assert file["events/t"].dtype == np.int64 and "ms_to_idx" not in file


def test_mvsec_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cameras of height 260, width 346; this recording has height 480, width 640"):
        write_events(tmp_path / "a.hdf5", [], 480, 640, "mvsec")
    late = sample(5, start=2**61 + 1)
    with pytest.raises(ValueError, match=r"float64 seconds cannot hold \d+ us exactly"):
        write_events(tmp_path / "b.hdf5", [late], 260, 346, "mvsec")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["dsec", "mvsec", "hdf5"])
def test_no_events(tmp_path: Path, name: str) -> None:
    for chunks in ([], [Events.empty(260, 346)]):
        path = tmp_path / f"{len(chunks)}.h5"
        write_events(path, chunks, 260, 346, name)
        recording = open_recording(path)
        assert (recording.format, recording.num_events, recording.height) == (name, 0, 260)


T = st.integers(min_value=0, max_value=2**52)


@pytest.mark.parametrize("name", ["dsec", "mvsec", "hdf5"])
@given(st.lists(st.tuples(st.integers(0, 345), st.integers(0, 259), T, st.integers(0, 1)), max_size=20))
@settings(max_examples=15, deadline=None)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, given_rows: list[tuple[int, ...]]
) -> None:
    found = sorted(given_rows, key=lambda row: row[2])
    columns = [np.array([row[i] for row in found], dtype) for i, dtype in enumerate(("u2", "u2", "i8", "u1"))]
    events = trusted(*columns, 260, 346)
    path = written(tmp_path_factory.mktemp("hdf5") / "a.h5", name, events, parts=2)
    assert same(open_recording(path).read(), events)


def test_threads_and_forks_read_alike(tmp_path: Path) -> None:
    events = sample(150_000)
    recording = open_recording(written(tmp_path / "a.h5", "dsec", events))
    windows = [(int(events.t[i]), int(events.t[i]) + 20_000) for i in range(0, 140_000, 7_000)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda window: recording.events(*window), windows))
    assert all(same(part, events.between(*window)) for part, window in zip(found, windows, strict=True))
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if same(recording.read(), events) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert same(recording.read(), events)


def test_a_wrong_index_in_the_middle_is_named(tmp_path: Path) -> None:
    events = sample(3_000_000, step=4)
    t = events.t - events.t[0]
    index = np.searchsorted(t, np.arange(t[-1] // 1000 + 1) * 1000)
    path = dsec(tmp_path / "events.h5", events, index)
    assert same(open_recording(path).read(), events)
    with h5py.File(path, "r+") as file:
        file["events/t"][1_500_000] = 4_000_000_000
    with pytest.raises(RecordingError, match=r"block \d+ runs from \d+ to \d+ us, its index says|time goes back"):
        open_recording(path).read()
