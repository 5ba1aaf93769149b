"""AEDAT 4 as written here: what was put in comes out, here and in the vendor's own reader where it is installed."""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventsam.events import Events
from eventsam.io.aedat4_writer import MAX_COORDINATES, PACKET_EVENTS, write_aedat4
from eventsam.io.detect import open_recording

HEIGHT, WIDTH = 260, 346


def make_events(num_events: int, first: int = 0) -> Events:
    random = np.random.default_rng(num_events)
    t = first + np.sort(random.integers(0, 1_000_000, num_events))
    x, y = random.integers(0, WIDTH, num_events), random.integers(0, HEIGHT, num_events)
    return Events.from_arrays(x, y, t, random.integers(0, 2, num_events), height=HEIGHT, width=WIDTH)


def equal(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in "xytp")


@pytest.mark.parametrize("compression", ["none", "lz4"])
@pytest.mark.parametrize("first", [0, 1_600_000_000_000_000])
def test_chunks_larger_and_smaller_than_a_packet(
    tmp_path: Path, compression: Literal["none", "lz4"], first: int
) -> None:
    events = make_events(3 * PACKET_EVENTS, first)
    path = tmp_path / "a.aedat4"
    ends = [0, 10, 10, 100, 2 * PACKET_EVENTS + 7, len(events)]
    write_aedat4(path, (events.slice(a, b) for a, b in pairwise(ends)), HEIGHT, WIDTH, compression)
    recording = open_recording(path)
    assert (recording.height, recording.width, recording.num_events) == (HEIGHT, WIDTH, len(events))
    assert equal(recording.read(), events)
    chunks = list(recording.chunks(1000))
    assert max(map(len, chunks)) <= 1000
    assert np.array_equal(np.concatenate([chunk.x for chunk in chunks]), events.x)
    for t0, t1 in ((0, 1), (first + 5000, first + 90_000), (first + 999_000, first + 2_000_000)):
        assert equal(recording.events(t0, t1), events.between(t0, t1))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 5), st.integers(-(2**63), 2**63 - 1), st.booleans())))
def test_any_time_comes_back(tmp_path: Path, rows: list[tuple[int, int, int, bool]]) -> None:
    rows.sort(key=lambda row: row[2])
    x, y, t, p = (np.array([row[i] for row in rows], np.int64) for i in range(4))
    events = Events.from_arrays(x, y, t, p, height=6, width=8)
    write_aedat4(tmp_path / "a.aedat4", [events], 6, 8)
    recording = open_recording(tmp_path / "a.aedat4")
    assert np.array_equal(np.concatenate([events.t[:0], *(chunk.t for chunk in recording.chunks())]), events.t)
    assert recording.num_events == len(events)


def test_a_sensor_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="up to 32768 pixels a side"):
        write_aedat4(tmp_path / "a.aedat4", [], MAX_COORDINATES + 1, 5)


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_the_vendors_reader_accepts_it(tmp_path: Path, compression: Literal["none", "lz4"]) -> None:
    vendor = pytest.importorskip("dv_processing")
    events = make_events(100_000, 1_600_000_000_000_000)
    path = tmp_path / "a.aedat4"
    write_aedat4(path, [events], HEIGHT, WIDTH, compression)
    reader = vendor.io.MonoCameraRecording(str(path))
    assert reader.getEventResolution() == (WIDTH, HEIGHT)
    assert reader.getTimeRange() == (events.t[0], events.t[-1])
    batches = []
    while reader.isRunning():
        batch = reader.getNextEventBatch()
        if batch is not None:
            batches.append(batch.numpy())
    read = np.concatenate(batches)
    columns = {"x": events.x, "y": events.y, "timestamp": events.t, "polarity": events.p}
    assert all(np.array_equal(read[name], column) for name, column in columns.items())
