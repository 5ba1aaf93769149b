"""Prophesee recordings written and read: every time, random access, damage, detection."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_fuzz import check_damaged

from eventsam.events import Events
from eventsam.io import prophesee_words
from eventsam.io.convert import writable_format, write_events
from eventsam.io.detect import detect_format, open_recording
from eventsam.io.recording import OpenOptions, RecordingError

NAMES = ["dat", "evt2", "evt21", "evt21_legacy", "evt3"]
HEIGHT, WIDTH = 260, 346
MENDING = OpenOptions(backward="running_maximum", outside="drop")
LIMIT = 2**63 - 1


def events_at(t: np.ndarray, seed: int = 0) -> Events:
    generator = np.random.default_rng(seed)
    num = len(t)
    # Rows of neighbours, so that words of several events are made.
    x = (np.arange(num) * generator.integers(1, 4) + generator.integers(0, WIDTH)) % WIDTH
    y = np.repeat(generator.integers(0, HEIGHT, num // 20 + 1), 20)[:num]
    p = np.repeat(generator.integers(0, 2, num // 9 + 1), 9)[:num]
    return Events.from_arrays(x, y, t, p, height=HEIGHT, width=WIDTH)


def write(folder: Path, name: str, events: Events, piece: int = 1000) -> Path:
    path = folder / f"recording_{name}"
    path.unlink(missing_ok=True)
    chunks = (events.slice(a, min(a + piece, len(events))) for a in range(0, len(events), piece))
    write_events(path, chunks, HEIGHT, WIDTH, name)
    return path


def assert_equal(got: Events, expected: Events) -> None:
    assert (got.height, got.width, len(got)) == (expected.height, expected.width, len(expected))
    for column in "xytp":
        np.testing.assert_array_equal(getattr(got, column), getattr(expected, column))


def steps(*values: int, num: int = 400, start: int = 0) -> np.ndarray:
    return start + np.cumsum(np.random.default_rng(2).choice(np.array(values, np.int64), num))


TIMES = {
    "dense": steps(0, 0, 0, 1),
    "from zero": np.zeros(50, np.int64),
    "loops of 16.8 s": steps(0, 1, 9_000_000, start=16_777_000),
    "wraps of 71 minutes": steps(0, 5, 1_900_000_000, num=60),
    "pauses of hours": steps(0, 5, 30_000_000_000, num=60),
    "epoch": steps(0, 1, 700, start=1_700_000_000_000_000),
    "before zero": steps(0, 1, 700, start=-5000),
    "all there are": np.array([-(2**63), -(2**63), -5, 0, 7, 2**62, LIMIT, LIMIT], np.int64),
    "pause at a piece's start": np.repeat(np.array([3, 2**50, 2**51], np.int64), 100),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("times", TIMES)
def test_every_time_comes_back(tmp_path: Path, name: str, times: str) -> None:
    events = events_at(TIMES[times])
    recording = open_recording(write(tmp_path, name, events, piece=100))
    assert (recording.format, recording.num_events) == (name, len(events))
    chunks = list(recording.chunks())
    for column in "xytp":
        together = np.concatenate([getattr(chunk, column) for chunk in chunks])
        np.testing.assert_array_equal(together, getattr(events, column))
    assert (recording.t_first_us, recording.t_last_us) == (int(events.t[0]), int(events.t[-1]))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(
    t=st.lists(st.integers(-(2**63), LIMIT - 1) | st.integers(0, 2**35) | st.integers(0, 3000), max_size=60),
    seed=st.integers(0, 1000),
)
def test_events_come_back(tmp_path_factory: pytest.TempPathFactory, name: str, t: list[int], seed: int) -> None:
    events = events_at(np.sort(np.array(t, np.int64)), seed)
    assert_equal(open_recording(write(tmp_path_factory.mktemp("any"), name, events, piece=17)).read(), events)


@pytest.mark.parametrize("name", ["dat", "evt3"])
def test_times_that_fit_are_written_as_they_are(tmp_path: Path, name: str) -> None:
    assert b"eventsam_t" not in write(tmp_path, name, events_at(steps(0, 1, 900, start=5_000_000))).read_bytes()
    assert b"% eventsam_t_offset_us 1700" in write(tmp_path, name, events_at(TIMES["epoch"])).read_bytes()
    assert (
        b"% eventsam_t_pause_us 100 1125899906842621\n"
        in write(tmp_path, name, events_at(TIMES["pause at a piece's start"])).read_bytes()
    )


@pytest.mark.parametrize("name", NAMES)
def test_windows_are_cuts_of_the_whole(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    num = 400_000
    t = np.concatenate([steps(0, 0, 1, 40, num=num // 2), steps(0, 0, 1, 40, num=num // 2, start=2**45)])
    events = events_at(t)
    path = write(tmp_path, name, events, piece=1 << 16)
    monkeypatch.setattr(prophesee_words, "INDEXED_BYTES", 1 << 10)
    for mapped in (1 << 30, 0):
        monkeypatch.setattr(prophesee_words, "MAPPED_BYTES", mapped)
        # The second time, the index of the first is found.
        recording = open_recording(path, OpenOptions(index_folder=tmp_path / "index"))
        assert len(list((tmp_path / "index").iterdir())) == 1
        assert_equal(recording.read(), events)
        for first, end in ((0, 10), (num // 2 - 300, num // 2 + 300), (num - 5, num), (1000, 200_000)):
            t0, t1 = int(events.t[first]), int(events.t[end - 1]) + 1
            assert_equal(recording.events(t0, t1), events.between(t0, t1))
        assert len(recording.events(2**44, 2**44 + 1000)) == 0
        assert sum(len(chunk) for chunk in recording.chunks(1000)) == num


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_of_no_events_opens(tmp_path: Path, name: str) -> None:
    recording = open_recording(write(tmp_path, name, Events.empty(HEIGHT, WIDTH)))
    assert (recording.num_events, recording.t_first_us, recording.height, recording.width) == (0, 0, HEIGHT, WIDTH)
    assert (len(recording.read()), len(recording.triggers()), list(recording.chunks())) == (0, 0, [])


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_anywhere_is_refused_or_reads_what_is_left(tmp_path: Path, name: str) -> None:
    events = events_at(steps(0, 1, 300, num=40))
    data = write(tmp_path, name, events).read_bytes()
    cut = tmp_path / "cut"
    for end in range(len(data)):
        cut.write_bytes(data[:end])
        try:
            recording = open_recording(cut, MENDING)
        except RecordingError as error:
            assert str(cut) in str(error)
        else:
            assert_equal(recording.read(), events.slice(0, recording.num_events))
    cut.write_bytes(data[:-1])
    with pytest.raises(RecordingError, match=f"cut: truncated at byte {len(data) - 1}"):
        open_recording(cut)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_damage_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    times = data.draw(st.sampled_from(["dense", "loops of 16.8 s", "pauses of hours"]))
    content = bytearray(write(folder, name, events_at(TIMES[times][:60])).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    check_damaged(bytes(content), folder, options=MENDING)
    check_damaged(bytes(content), folder, options=OpenOptions(backward="sort", outside="drop"), format_name=name)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"% eventsam_t_offset_us many\n", "expected whole numbers"),
        (b"% eventsam_t_offset_us 99999999999999999999\n", "too large"),
        (b"% eventsam_t_pause_us 5 1\n% eventsam_t_pause_us 5 1\n", "out of order"),
        (b"% eventsam_t_offset_us 9223372036854775807\n", "beyond what 64 bits hold"),
    ],
)
def test_faulty_lines_about_times_are_refused(tmp_path: Path, lines: bytes, message: str) -> None:
    content = write(tmp_path, "evt3", events_at(TIMES["loops of 16.8 s"])).read_bytes()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content.replace(b"% end\n", lines + b"% end\n"))
    with pytest.raises(RecordingError, match=f"damaged: .*{message}"):
        open_recording(damaged)


def test_the_header_decides_what_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "evt2", events_at(TIMES["dense"]))
    with pytest.raises(RecordingError, match="the header states evt2, to be read as evt3"):
        open_recording(path, format_name="evt3")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"% evt 2.0\n% format EVT2;height=260;width=346\n", b""))
    with pytest.raises(RecordingError, match="not recognised"):
        open_recording(path)
    assert open_recording(path, format_name="evt2").num_events == 400


@pytest.mark.parametrize("name", ["evt21", "evt21_legacy"])
def test_the_order_of_halves_is_found_without_the_header(tmp_path: Path, name: str) -> None:
    events = events_at(TIMES["loops of 16.8 s"])
    path = write(tmp_path, name, events)
    content = path.read_bytes()
    for line in (b"EVT21;endianness=little", b"EVT21;endianness=legacy"):
        content = content.replace(line, b"EVT21")
    path.write_bytes(content)
    assert detect_format(path).name == name
    assert_equal(open_recording(path).read(), events)


def dat(header: bytes, kind: int, size: int, *records: tuple[int, int, int, int]) -> bytes:
    words = [(t & 0xFFFFFFFF) | x << 32 | y << 46 | p << 60 for x, y, t, p in records]
    return header + bytes([kind, size]) + np.array(words, "<u8").tobytes()


DAT_HEADER = b"% Data file containing CD events.\n% Version 2\n% Width 346\n% Height 260\n"


@pytest.mark.parametrize("kind", [0, 12])
def test_both_kinds_of_dat_events_are_read(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "recording.dat"
    # Wraps, then one event from before the wrap comes late.
    path.write_bytes(dat(DAT_HEADER, kind, 8, (1, 2, 2**32 - 9, 1), (3, 4, 5, 0), (5, 6, 2**32 - 2, 1), (7, 8, 6, 0)))
    recording = open_recording(path, OpenOptions(backward="sort"))
    assert recording.read().t.tolist() == [2**32 - 9, 2**32 - 2, 2**32 + 5, 2**32 + 6]
    with pytest.raises(RecordingError, match="time goes back at event 2"):
        open_recording(path).read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dat(DAT_HEADER, 14, 8), "events of type 14 and 8 bytes, can be read: type 0 or 12"),
        (dat(DAT_HEADER, 12, 16), "events of type 12 and 16 bytes"),
        (dat(DAT_HEADER.replace(b"Version 2", b"Version 1"), 0, 8), "DAT version 1"),
        (DAT_HEADER, "truncated at byte 71, before the type"),
        (dat(DAT_HEADER.replace(b"% Width 346\n", b""), 0, 8), "give height and width"),
        (dat(DAT_HEADER, 0, 8, (400, 2, 3, 1)), "x=400, y=2, outside the sensor"),
    ],
)
def test_faulty_dat_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "recording.dat"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=f"recording.dat: .*{message}"):
        open_recording(path).read()


@pytest.mark.parametrize("name", NAMES)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    side = 20_000 if name == "dat" else 2049
    with pytest.raises(ValueError, match=r"holds sensors up to (16384|2048) pixels"):
        write_events(tmp_path / "large", [], side, 100, name)
    events = events_at(steps(1, num=4))
    with pytest.raises(ValueError, match="sort them first"):
        write_events(tmp_path / "backward", [events, events], HEIGHT, WIDTH, name)
    with pytest.raises(ValueError, match="events of a sensor 260x346 among those of 100x100"):
        write_events(tmp_path / "other", [events], 100, 100, name)
    assert not list(tmp_path.iterdir())


def test_suffixes_name_one_format(tmp_path: Path) -> None:
    assert writable_format(tmp_path / "a.raw").name == "evt3"
    assert writable_format(tmp_path / "a.dat").name == "dat"
    assert writable_format(tmp_path / "a.evt2").name == "evt2"


def test_triggers_move_with_the_offset(tmp_path: Path) -> None:
    words = np.array([8 << 12 | 1, 6 << 12 | 7, 10 << 12 | 3 << 8 | 1, 0, 2 << 12 | 5, 6 << 12 | 9, 10 << 12], "<u2")
    header = b"% evt 3.0\n% geometry 346x260\n% eventsam_t_offset_us 1000000\n% end\n"
    path = tmp_path / "recording.raw"
    path.write_bytes(header + words.tobytes())
    found = open_recording(path).triggers()
    assert (found.t.tolist(), found.source.tolist(), found.edge.tolist()) == ([1004103, 1004105], [3, 0], [1, 0])
    assert open_recording(path).read().t.tolist() == [1004103]


def test_a_file_that_shrinks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prophesee_words, "MAPPED_BYTES", 0)
    path = write(tmp_path, "evt2", events_at(TIMES["dense"]))
    recording = open_recording(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(RecordingError, match="it was longer when it was opened"):
        recording.read()
