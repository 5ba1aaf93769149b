"""Text recordings: units, order of columns, sensor size, frames, damage and long files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_fuzz import check_damaged

import eventsam.io.text_source as text_source
from eventsam.events import Events, trusted
from eventsam.io.convert import write_events
from eventsam.io.detect import open_recording
from eventsam.io.info import recording_info
from eventsam.io.recording import OpenOptions, RecordingError
from eventsam.io.text import TextRecording, read_calibration, read_image, read_size_line, write_text

LINES = "0.000001 3 1 0\n0.0000024 0 2 1\n1.5 7 5 1\n"
SIZE = OpenOptions(height=6, width=8)


def folder(path: Path, lines: str | bytes = LINES, frame: np.ndarray | None = None) -> Path:
    path.mkdir(exist_ok=True)
    (path / "events.txt").write_bytes(lines.encode() if isinstance(lines, str) else lines)
    if frame is not None:
        cv2.imwrite(str(path / "frame.png"), frame)
    return path


def rows(events: Events) -> list[tuple[int, ...]]:
    return [tuple(int(value) for value in row) for row in zip(events.x, events.y, events.t, events.p, strict=True)]


def sample(num: int, seed: int = 0, start: int = 0, step: int = 50) -> Events:
    rng = np.random.default_rng(seed)
    t = start + np.cumsum(rng.integers(0, step, num))
    x, y = rng.integers(0, 346, num, np.uint16), rng.integers(0, 260, num, np.uint16)
    return Events(x, y, t, rng.integers(0, 2, num, np.uint8), 260, 346)


def test_seconds_become_whole_microseconds(tmp_path: Path) -> None:
    recording = TextRecording(folder(tmp_path), SIZE)
    assert rows(recording.events(0, 2_000_000)) == [(3, 1, 1, 0), (0, 2, 2, 1), (7, 5, 1_500_000, 1)]
    assert (recording.num_events, recording.t_first_us, recording.t_last_us) == (3, 1, 1_500_000)
    assert len(recording.events(1, 2)) == 1
    assert len(recording.frames()) == 0


@pytest.mark.parametrize(
    ("text", "t"),
    [
        ("1600000000.123456789", 1_600_000_000_123_457),
        ("1600000000.000000500", 1_600_000_000_000_000),
        ("1600000000.000001500", 1_600_000_000_000_002),
        ("0.00000050000000000000001", 1),
        ("13.595874999000001", 13_595_875),
        ("3.811000000000000000e-03", 3811),
        ("1e3", 1_000_000_000),
        ("+.25", 250_000),
        ("5.", 5_000_000),
        ("-0.000003", -3),
        ("9223372036854.775806", 2**63 - 2),
        ("0.00000000000000000000000000000000000001", 0),
        ("000000000000000000000000000000001.5", 1_500_000),
    ],
)
def test_times_are_exact(tmp_path: Path, text: str, t: int) -> None:
    assert TextRecording(folder(tmp_path, f"{text} 1 2 1\n"), SIZE).read().t.tolist() == [t]


@pytest.mark.parametrize(
    "lines",
    [
        "100 3 1 0\n250 0 2 1\n",
        "# a comment\n100 3 1 0\r\n\r\n  250\t0 2 1 \r\n# end",
        "x,y,p,t\n3,1,0,100\n0,2,1,250\n",
        "# timestamp_us x y polarity\n1e2, 3, 1, -1\n250, 0, 2, 1\n",
        "8 6\nx y t p\n3 1 100 0\n0 2 250 1",
        "t[ns] x y p\n100000 3 1 0\n250499 0 2 1\n",
        "t(s) x y p\n0.0001 3.0 1 0\n2.5e-4 0 2.000e+00 1.0\n",
    ],
)
def test_units_orders_and_separators(tmp_path: Path, lines: str) -> None:
    file = tmp_path / "any.name"
    file.write_text(lines)
    assert rows(open_recording(file, SIZE).read()) == [(3, 1, 100, 0), (0, 2, 250, 1)]


def test_signed_polarity_is_read(tmp_path: Path) -> None:
    recording = TextRecording(folder(tmp_path, "0.1 1 1 -1\n0.2 1 1 1\n"), SIZE)
    assert recording.events(0, 10**6).p.tolist() == [0, 1]


def test_sensor_size_comes_from_first_line_sidecar_options_or_frame(tmp_path: Path) -> None:
    path = folder(tmp_path, frame=np.zeros((10, 12), np.uint8))
    assert (TextRecording(path).height, TextRecording(path).width) == (10, 12)
    assert TextRecording(path, OpenOptions(height=7, width=9)).height == 7
    (path / "sensor.json").write_text('{"height": 20, "width": 30}')
    assert (TextRecording(path).height, TextRecording(path).width) == (20, 30)
    folder(tmp_path, "240 180\n" + LINES)
    recording = TextRecording(path)
    assert (recording.height, recording.width, recording.num_events) == (180, 240, 3)
    assert read_size_line(path / "events.txt") == (180, 240)
    with pytest.raises(RecordingError, match="states height 180, width 240 pixels, asked for height 7, width 9"):
        TextRecording(path, OpenOptions(height=7, width=9))
    lone = TextRecording(path / "events.txt")
    assert (lone.height, lone.width, len(lone.frames())) == (180, 240, 0)


def test_an_unknown_sensor_size_is_never_guessed(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"events.txt: the file does not state the sensor size: give height"):
        TextRecording(folder(tmp_path))
    (tmp_path / "sensor.json").write_text('{"height": 20}')
    with pytest.raises(RecordingError, match=r"sensor.json: expected"):
        TextRecording(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "is empty"),
        ("0.1 1 1\n", r"line 1 \(byte 0\) is '0.1 1 1': fewer than four fields; expected `t x y p`"),
        ("# note\n0.1 1 1 1\n\n0.2 1 1\n", "line 4 .* is '0.2 1 1': fewer"),
        ("0.1 1 1 1\n0.2 1 1 1 7\n", "line 2 .*: something follows the fourth field"),
        ("0.1 1 1 1\n0.2 1 1 1x\n", "line 2 .*: something follows"),
        ("0.1 one 1 1\n", "line 1 .*: a field is not a finite number"),
        ("0.1 1 1 1\n0.2 1,,1 1\n", "line 2 .*: a field is not"),
        ("0.1 1.5 1 1\n", "line 1 .*: x, y or p is not whole"),
        ("0.1 1 1 1\nnan 1 1 1\n", "line 2 .*: a field is not a finite number"),
        ("0.1 1 1 1\ninf 1 1 1\n", "line 2 .*: a field is not a finite number"),
        (". 1 1 1\n", "line 1 .*: a field is not a finite number"),
        ("1e 1 1 1\n", "line 1 .*: a field is not a finite number"),
        ("1e30 1 1 1\n", "line 1 .*: a time that int64 us cannot hold"),
        ("9223372036854.775808 1 1 1\n", "line 1 .*: a time that int64 us cannot hold"),
        ("0.2 1 1 1\n0.1 1 1 1\n", "time goes back at event 1, from 200000 to 100000 us"),
        ("0.1 8 1 1\n", "line 1 .*: x or y lies outside the sensor"),
        ("0.1 -1 1 1\n", "line 1 .*: x or y lies outside"),
        ("0.1 1 1 2\n", "line 1 .*: p is none of -1, 0, 1"),
        ("0.1 1 1 1\n0.2 1 1 ", "line 2 .*: fewer"),
        ("0.1 1 1 1\n0.2 1 1 -", "line 2 .*: a field is not"),
        ("\x00\x01\x02", "line 1 .*: a field is not"),
    ],
)
def test_faulty_lines_are_refused_by_number(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        TextRecording(folder(tmp_path, lines), SIZE).read()


def test_whole_times_turning_into_seconds_are_refused(tmp_path: Path) -> None:
    lines = "".join(f"{i} 1 1 1\n" for i in range(20_000)) + "20000.5 1 1 1\n"
    with pytest.raises(
        RecordingError, match=r"line 20001 .*: a time with a fraction, where the times before it are whole"
    ):
        TextRecording(folder(tmp_path, lines), SIZE)


def test_policies(tmp_path: Path) -> None:
    path = folder(tmp_path, "0.2 1 1 1\n0.1 -1 1 1\n0.2 70000 1 1\n0.15 2 2 0\n")
    options = {"height": 6, "width": 8, "outside": "drop"}
    ordered = TextRecording(path, OpenOptions(backward="sort", **options))
    assert rows(ordered.read()) == [(2, 2, 150_000, 0), (1, 1, 200_000, 1)]
    held = TextRecording(path, OpenOptions(backward="running_maximum", **options))
    assert held.read().t.tolist() == [200_000, 200_000]
    assert (held.faults().num_backward, held.faults().num_outside) == (2, 2)


def test_a_long_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_source, "BLOCK_BYTES", 1000)
    with pytest.raises(RecordingError, match="byte 0: a line longer than 1000 bytes"):
        TextRecording(folder(tmp_path, "0.1 1 1 1" + " " * 2000 + "\n"), SIZE)


@pytest.mark.parametrize("whole_bytes", [0, 1 << 25])
def test_blocks_windows_and_chunks_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_bytes: int) -> None:
    monkeypatch.setattr(text_source, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(text_source, "WHOLE_BYTES", whole_bytes)
    events = sample(3000, start=1_600_000_000_000_000)
    write_text(tmp_path / "long.txt", [events.slice(0, 1), events.slice(1, 3000)], 260, 346)
    for _ in range(2):
        recording = TextRecording(tmp_path / "long.txt", OpenOptions(index_folder=tmp_path / "index"))
        assert (recording.height, recording.width, recording.num_events) == (260, 346, 3000)
        assert rows(recording.read()) == rows(events)
        assert [row for chunk in recording.chunks(700) for row in rows(chunk)] == rows(events)
        for t0, t1 in ((events.t[0], events.t[1]), (events.t[999], events.t[2000]), (0, 5), (events.t[-1], 2**62)):
            assert rows(recording.events(int(t0), int(t1))) == rows(events.between(int(t0), int(t1)))
    assert len(list(tmp_path.glob("index/*"))) == (1 if whole_bytes == 0 else 0)
    assert recording_info(recording)["num_events"] == 3000


def test_a_file_that_changes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_source, "WHOLE_BYTES", 0)
    recording = TextRecording(folder(tmp_path), OpenOptions(height=6, width=8, index_folder=tmp_path))
    folder(tmp_path, LINES[:20])
    with pytest.raises(RecordingError, match="byte 0: the file has changed since it was indexed"):
        recording.read()


T = st.integers(min_value=-(2**63), max_value=2**63 - 2)


@given(st.lists(st.tuples(st.integers(0, 65533), st.integers(0, 65533), T, st.integers(0, 1)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, given_rows: list[tuple[int, ...]]) -> None:
    found = sorted(given_rows, key=lambda row: row[2])
    columns = [np.array([row[i] for row in found], dtype) for i, dtype in enumerate(("u2", "u2", "i8", "u1"))]
    events = trusted(*columns, 65534, 65534)
    path = tmp_path_factory.mktemp("text") / "events.txt"
    write_events(path, [events], 65534, 65534, "text")
    recording = open_recording(path)
    assert (recording.format, recording.height, recording.width) == ("text", 65534, 65534)
    assert rows(next(iter(recording.chunks()), Events.empty(1, 1))) == found


def test_lines_are_written_with_six_decimals(tmp_path: Path) -> None:
    x, p = np.array([0, 345], np.uint16), np.array([0, 1], np.uint8)
    events = Events(x, np.array([259, 7], np.uint16), np.array([-1, 1_600_000_000_000_001]), p, 260, 346)
    write_text(tmp_path / "a.txt", [events], 260, 346)
    assert (tmp_path / "a.txt").read_text() == "346 260\n-0.000001 0 259 0\n1600000000.000001 345 7 1\n"


def test_every_cut_and_every_byte_reads_or_raises(tmp_path: Path) -> None:
    data = b"346 260\n# t x y p\n0.000001 3 1 0\n0.0000024 0 2 1\n1.5 7 5 1\n"
    settings_ = OpenOptions(backward="running_maximum", outside="drop")
    for end in range(len(data)):
        check_damaged(data[:end], tmp_path, options=settings_, format_name="text")
    for place in range(len(data)):
        for value in (0, 10, 13, 32, 44, 46, 45, 48, 57, 101, 255):
            damaged = data[:place] + bytes([value]) + data[place + 1 :]
            check_damaged(damaged, tmp_path, options=settings_, format_name="text")


def mutations() -> st.SearchStrategy[bytes]:
    pieces = st.sampled_from(
        [b"0.1 1 2 1\n", b"\n", b"#", b",", b" ", b"e9", b"-", b".", b"1", b"999999999999", b"\0", b"t x y p\n"]
    )
    return st.lists(st.one_of(pieces, st.binary(max_size=4)), max_size=20).map(b"".join)


@given(mutations())
@settings(max_examples=200, deadline=None)
def test_any_text_reads_or_raises(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    check_damaged(data, tmp_path_factory.getbasetemp(), "fuzz.txt", format_name="text")


def test_a_lone_frame_stands_at_the_middle_of_the_span(tmp_path: Path) -> None:
    image = np.arange(48, dtype=np.uint8).reshape(6, 8)
    recording = TextRecording(folder(tmp_path, frame=image))
    assert recording.has_lone_frame
    frame = recording.frames()[0]
    assert frame.t_us == frame.exposure_start_us == frame.exposure_end_us == 750_000
    assert np.array_equal(frame.image, image[None])


def test_listed_frames_keep_their_times(tmp_path: Path) -> None:
    path = folder(tmp_path, frame=np.zeros((6, 8), np.uint8))
    colour = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    cv2.imwrite(str(path / "a.png"), colour)
    (path / "images.txt").write_text("0.25 a.png\n0.5000004 a.png\n")
    recording = TextRecording(path)
    frames = recording.frames()
    assert not recording.has_lone_frame
    assert [frame.t_us for frame in frames] == [250_000, 500_000]
    assert np.array_equal(frames[0].rgb, colour[..., ::-1].transpose(2, 0, 1))
    (path / "images.txt").write_text("0.25 a.png\n0.5 b.png\n")
    with pytest.raises(RecordingError, match=r"b.png: cannot be read"):
        TextRecording(path).frames()[1]
    (path / "images.txt").write_text("0.25 a.png\nb.png\n")
    with pytest.raises(RecordingError, match=r"images.txt: line 2 is 'b.png'"):
        TextRecording(path)


def test_broken_images_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x89PNG and nothing else"):
        (tmp_path / "frame.png").write_bytes(content)
        with pytest.raises(RecordingError, match=r"frame.png: not an image"):
            read_image(tmp_path / "frame.png")


@pytest.mark.parametrize("content", ["1 2 3", "1 2 3 4 5 6 7 8 nine", "0 2 3 4 5 6 7 8 9", "nan 2 3 4 5 6 7 8 9"])
def test_faulty_calibration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "calib.txt").write_text(content)
    with pytest.raises(RecordingError, match=r"calib.txt"):
        read_calibration(tmp_path / "calib.txt")
