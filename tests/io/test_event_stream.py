"""Event Stream: bytes put together here by the format's description, files written here, and damage."""

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording_fuzz import check_damaged

from eventsam.events import Events
from eventsam.io import event_stream
from eventsam.io.detect import open_recording
from eventsam.io.event_stream import EventStreamRecording
from eventsam.io.event_stream_jumps import JUMP_FROM_US, jump_trailer
from eventsam.io.event_stream_writer import write_event_stream
from eventsam.io.recording import OpenOptions, RecordingError

HEIGHT, WIDTH = 300, 400


def header(kind: int, version: tuple[int, int, int] = (2, 0, 0), width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return struct.pack("<12s4B2H", b"Event Stream", *version, kind, width, height)


def dvs(step: int, p: int, x: int, y: int) -> bytes:
    return struct.pack("<BHH", step << 1 | p, x, y)


def atis(step: int, p: int, measured: int, x: int, y: int) -> bytes:
    return struct.pack("<BHH", step << 2 | p << 1 | measured, x, y)


def opened(path: Path, **options: object) -> EventStreamRecording:
    recording = open_recording(path, OpenOptions(**options))
    assert isinstance(recording, EventStreamRecording)
    return recording


def file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def rows(events: Events) -> list[tuple[int, int, int, int]]:
    return list(zip(events.x.tolist(), events.y.tolist(), events.t.tolist(), events.p.tolist(), strict=True))


def equal(a: Events, b: Events) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in "xytp")


def make_events(t: np.ndarray) -> Events:
    random = np.random.default_rng(len(t))
    x, y = random.integers(0, WIDTH, len(t)), random.integers(0, HEIGHT, len(t))
    return Events.from_arrays(x, y, t, random.integers(0, 2, len(t)), height=HEIGHT, width=WIDTH)


def test_dvs_bytes(tmp_path: Path) -> None:
    data = (
        b"\xff" * 3
        + b"\xfe" * 5
        + dvs(2, 1, 399, 299)
        + dvs(0, 0, 256, 1)
        + b"\xfe\xff"
        + dvs(126, 1, 0, 0)
        + b"\xff\xfe"
    )
    recording = opened(file(tmp_path / "a.es", header(1) + data))
    assert (recording.format, recording.height, recording.width) == ("event_stream", HEIGHT, WIDTH)
    assert rows(recording.read()) == [(399, 299, 383, 1), (256, 1, 383, 0), (0, 0, 383 + 253, 1)]


def test_atis_bytes_and_exposure_measurements(tmp_path: Path) -> None:
    events = [atis(5, 1, 0, 1, 2), b"\xfc\xfd", atis(0, 1, 1, 3, 4), b"\xff", atis(62, 0, 0, 5, 6), atis(1, 0, 1, 7, 8)]
    recording = opened(file(tmp_path / "a.es", header(2) + b"".join(events)))
    assert rows(recording.read()) == [(1, 2, 5, 1), (5, 6, 5 + 63 + 3 * 63 + 62, 0)]
    assert (recording.num_events, recording.num_exposure_measurements) == (2, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(0), "type 0 .generic. holds no change events; read are DVS and ATIS"),
        (header(4), "type 4 .colour."),
        (header(9), "type 9 .an unknown type."),
        (header(1, version=(1, 0, 0)), "version 1.0.0 is not read, only version 2"),
        (header(1)[:18], "truncated: the header needs 20 bytes, the file has 18"),
        (header(1)[:14], "not a whole Event Stream header"),
        (header(1, width=0), "allowed: 1 to"),
        (header(1) + dvs(1, 1, 1, 1)[:4], "truncated: at byte 20 starts an event of 5 bytes, 4 are there"),
        (header(2) + atis(1, 1, 0, 1, 1) + b"\x01", "truncated: at byte 25 starts an event of 5 bytes, 1 are there"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(RecordingError, match=f"a.es: .*{message}"):
        opened(file(tmp_path / "a.es", data))


def test_pixels_outside_the_sensor_follow_the_policy(tmp_path: Path) -> None:
    path = file(tmp_path / "a.es", header(1) + dvs(1, 1, 65535, 1) + dvs(1, 1, 1, 300) + dvs(1, 1, 1, 1))
    with pytest.raises(RecordingError, match="event 0 lies at x=65535, y=1"):
        opened(path).read()
    assert rows(opened(path, outside="drop").read()) == [(1, 1, 3, 1)]


@pytest.mark.parametrize("first", [0, 5_000_000, 1_600_000_000_000_000])
def test_written_events_come_back(tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "BLOCK_EVENTS", 1000)
    t = first + np.sort(np.random.default_rng(0).integers(0, 3_000_000, 5000))
    t[2500:] += 70 * 3_600_000_000
    events = make_events(t)
    path = tmp_path / "a.es"
    cuts = [0, 1, 1, 700, 2501, 5000]
    write_event_stream(path, (events.slice(a, b) for a, b in pairwise(cuts)), HEIGHT, WIDTH)
    recording = opened(path)
    assert equal(recording.read(), events)
    chunks = list(recording.chunks(300))
    assert np.array_equal(np.concatenate([chunk.t for chunk in chunks]), t)
    for t0, t1 in ((0, 1), (first + 5000, first + 90_000), (int(t[2499]), int(t[2500])), (int(t[2490]), int(t[2510]))):
        assert equal(recording.events(t0, t1), events.between(t0, t1))


def test_times_that_fit_are_written_as_the_format_has_them(tmp_path: Path) -> None:
    events = Events.from_arrays([1, 2], [3, 4], [255, 300], [1, 0], height=HEIGHT, width=WIDTH)
    write_event_stream(tmp_path / "a.es", [events], HEIGHT, WIDTH)
    assert (tmp_path / "a.es").read_bytes() == header(1) + b"\xff\xff" + dvs(1, 1, 1, 3) + dvs(45, 0, 2, 4)


def test_long_pauses_leave_the_events_readable_for_others(tmp_path: Path) -> None:
    t = np.array([10**15, 10**15 + 5, 10**15 + 5 + JUMP_FROM_US])
    write_event_stream(tmp_path / "a.es", [make_events(t)], HEIGHT, WIDTH)
    data = (tmp_path / "a.es").read_bytes()
    trailer = jump_trailer([(0, 10**15), (2, JUMP_FROM_US)])
    assert data.endswith(trailer) and set(trailer) == {0xFE, 0xFF}
    # Without the trailer: what a reader sees that does not know it.
    plain = opened(file(tmp_path / "b.es", data[: -len(trailer)]))
    assert plain.read().t.tolist() == [0, 5, 5]
    with pytest.raises(RecordingError, match="list of 2 pauses"):
        opened(file(tmp_path / "b.es", data[:60] + data[-200:]))
    later = jump_trailer([(0, 2**62), (1, 2**62)])
    with pytest.raises(RecordingError, match="list of 2 pauses"):
        opened(file(tmp_path / "b.es", data[: -len(trailer)] + later))
    later = jump_trailer([(0, 2**63 - 3)])
    with pytest.raises(RecordingError, match="the times leave 64 bits"):
        opened(file(tmp_path / "b.es", data[: -len(trailer)] + later))


STEPS = st.lists(st.integers(0, 3000) | st.integers(0, 10**7) | st.integers(JUMP_FROM_US, 2**58), max_size=12)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_any_time_from_0_on_comes_back(tmp_path: Path, steps: list[int]) -> None:
    events = make_events(np.cumsum(np.array(steps, np.int64)))
    write_event_stream(tmp_path / "a.es", [events], HEIGHT, WIDTH)
    recording = opened(tmp_path / "a.es")
    assert [row for chunk in recording.chunks() for row in rows(chunk)] == rows(events)


def test_the_largest_time_and_what_cannot_be_written(tmp_path: Path) -> None:
    write_event_stream(tmp_path / "a.es", [make_events(np.array([4, 2**63 - 1]))], HEIGHT, WIDTH)
    assert [chunk.t.tolist() for chunk in opened(tmp_path / "a.es").chunks()] == [[4, 2**63 - 1]]
    with pytest.raises(ValueError, match="up to 65535 pixels a side"):
        write_event_stream(tmp_path / "a.es", [], 65536, 4)
    with pytest.raises(ValueError, match="event 0 is at -1 us"):
        write_event_stream(tmp_path / "a.es", [make_events(np.array([-1, 4]))], HEIGHT, WIDTH)


def test_no_events(tmp_path: Path) -> None:
    write_event_stream(tmp_path / "a.es", [], HEIGHT, WIDTH)
    recording = opened(tmp_path / "a.es")
    assert (recording.num_events, recording.t_last_us, len(recording.read())) == (0, 0, 0)
    assert opened(file(tmp_path / "b.es", header(2) + b"\xff" * 9)).num_events == 0


def test_every_truncation_is_refused_or_between_events(tmp_path: Path) -> None:
    write_event_stream(tmp_path / "a.es", [make_events(np.arange(1, 4000, 200))], HEIGHT, WIDTH)
    whole = (tmp_path / "a.es").read_bytes()
    read = refused = 0
    for size in range(1, len(whole)):
        try:
            read += len(opened(file(tmp_path / "b.es", whole[:size])).read()) >= 0
        except RecordingError as error:
            refused += "b.es" in str(error)
    # Of each event of 5 bytes 4 cuts fall into it, and 19 bytes of the header.
    assert (read, refused) == (len(whole) - 1 - 19 - 80, 19 + 80)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    st.sampled_from([0, 1 << 40]),
)
def test_damage_anywhere_is_refused_or_harmless(tmp_path: Path, changes: list[tuple[float, int]], first: int) -> None:
    write_event_stream(tmp_path / "whole", [make_events(first + np.arange(1, 9000, 200))], HEIGHT, WIDTH)
    hurt = bytearray((tmp_path / "whole").read_bytes())
    for place, value in changes:
        hurt[int(place * len(hurt))] = value
    check_damaged(bytes(hurt), tmp_path, options=OpenOptions(backward="running_maximum", outside="drop"))


@pytest.mark.parametrize("kind", ["dvs", "atis"])
def test_against_the_formats_own_reader(tmp_path: Path, kind: str) -> None:
    """Runs where the `event_stream` package is installed beside, which is no dependency."""
    oracle = pytest.importorskip("event_stream")
    t = np.sort(np.random.default_rng(0).integers(0, 10**8, 20_000))
    events = make_events(t)
    path = tmp_path / "a.es"
    if kind == "dvs":
        write_event_stream(path, [events], HEIGHT, WIDTH)
        with oracle.Decoder(str(path)) as decoder:
            read = np.concatenate(list(decoder))
        assert all(
            np.array_equal(read[name], getattr(events, key))
            for name, key in zip(("t", "x", "y", "on"), "txyp", strict=True)
        )
        return
    table = np.zeros(len(t), [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("exposure", "?"), ("polarity", "?")])
    for name, key in (("t", "t"), ("x", "x"), ("y", "y"), ("polarity", "p")):
        table[name] = getattr(events, key)
    table["exposure"] = np.arange(len(t)) % 3 == 0
    with oracle.Encoder(str(path), "atis", WIDTH, HEIGHT) as encoder:
        encoder.write(table)
    read, kept = opened(path).read(), np.flatnonzero(~table["exposure"])
    assert all(np.array_equal(getattr(read, key), getattr(events, key)[kept]) for key in "xytp")
