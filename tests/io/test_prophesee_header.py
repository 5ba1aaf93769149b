"""Headers of Prophesee files: where they end, what they state, and lines that are damaged."""

from pathlib import Path

import pytest

from eventsam.io.prophesee_header import read_header, refuse_cut, sensor_size, stated_size, write_header
from eventsam.io.recording import OpenOptions, RecordingError, UnknownSizeError

LINES = b"% Date 2020-09-14 09:03:25\n% evt 3.0\n% system_ID 48\n% odd_key  some value \n"


def header_of(folder: Path, content: bytes) -> Path:
    path = folder / "recording.raw"
    path.write_bytes(content)
    return path


def test_all_lines_are_kept(tmp_path: Path) -> None:
    header = read_header(header_of(tmp_path, LINES + b"\x2d\x8b\x00\x60"))
    assert header.size == len(LINES)
    assert header.lines[-1] == ("odd_key", "some value")
    assert (header.get("date"), header.get("EVT"), header.get("geometry")) == ("2020-09-14 09:03:25", "3.0", None)
    assert not header.cut


@pytest.mark.parametrize(
    "data",
    [
        b"\x25\x20\x2d\x8b\x0a",  # a word of EVT 3 that is "% "
        b"% \n\x00\x80",  # a line without text, no header line after it
        b"%\x20abc\x00def\n",  # not printable
        b"% \xff\xfe\n",  # no text
        b"%abc def\n",  # no blank
        b"% 12 34\n",  # does not start with a letter
        b"",
    ],
)
def test_data_that_start_like_a_line_are_data(tmp_path: Path, data: bytes) -> None:
    header = read_header(header_of(tmp_path, LINES + data))
    assert (header.size, header.cut) == (len(LINES), False)


def test_what_follows_the_end_line_is_data(tmp_path: Path) -> None:
    header = read_header(header_of(tmp_path, LINES + b"% end\n% looks like a line\n"))
    assert header.size == len(LINES) + len(b"% end\n")
    assert header.get("looks") is None


def test_empty_lines_and_dos_line_ends_are_read(tmp_path: Path) -> None:
    header = read_header(header_of(tmp_path, b"% evt 2.0\r\n%\n% \r\n% geometry 640x480\r\n% end\r\n\x00"))
    assert header.lines == (("evt", "2.0"), ("geometry", "640x480"))
    assert header.size == len(b"% evt 2.0\r\n%\n% \r\n% geometry 640x480\r\n% end\r\n")


def test_a_file_that_ends_within_a_line_is_cut(tmp_path: Path) -> None:
    path = header_of(tmp_path, LINES + b"% geome")
    header = read_header(path)
    assert header.cut and header.size == len(LINES)
    with pytest.raises(RecordingError, match=f"recording.raw: truncated at byte {len(LINES) + 7}"):
        refuse_cut(path, header)


def test_no_header_is_no_lines(tmp_path: Path) -> None:
    assert read_header(header_of(tmp_path, b"\x00\x01\x02")).lines == ()
    assert read_header(header_of(tmp_path, b"")).size == 0


@pytest.mark.parametrize(
    "line",
    [b"% geometry 1280x720\n", b"% format EVT3;height=720;width=1280\n", b"% Width 1280\n% Height 720\n"],
)
def test_the_size_is_stated_in_three_ways(tmp_path: Path, line: bytes) -> None:
    path = header_of(tmp_path, LINES + line)
    assert stated_size(path, read_header(path)) == (720, 1280)


def test_half_a_size_is_none(tmp_path: Path) -> None:
    path = header_of(tmp_path, LINES + b"% width 1280\n")
    assert stated_size(path, read_header(path)) is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"% geometry 1280*720\n", "expected WIDTHxHEIGHT"),
        (b"% geometry 1280x720\n% format EVT3;height=480;width=640\n", "contradicts itself"),
        (b"% height many\n% width 10\n", "expected a number of pixels"),
    ],
)
def test_faulty_sizes_are_refused(tmp_path: Path, lines: bytes, message: str) -> None:
    path = header_of(tmp_path, LINES + lines)
    with pytest.raises(RecordingError, match=f"recording.raw: .*{message}"):
        stated_size(path, read_header(path))


def test_the_size_may_come_from_argument_or_sidecar(tmp_path: Path) -> None:
    path = header_of(tmp_path, LINES)
    header = read_header(path)
    with pytest.raises(RecordingError, match="give height and width"):
        sensor_size(path, header, OpenOptions())
    (tmp_path / "sensor.json").write_text('{"height": 20, "width": 30}')
    assert sensor_size(path, header, OpenOptions()) == (20, 30)
    assert sensor_size(path, header, OpenOptions(height=7, width=9)) == (7, 9)


def test_written_lines_are_read_back(tmp_path: Path) -> None:
    lines = (("evt", "3.0"), ("geometry", "4x3"))
    for end in (False, True):
        header = read_header(header_of(tmp_path, write_header(lines, end=end) + b"\x00"))
        assert (header.lines, header.size) == (lines, len(write_header(lines, end=end)))


@pytest.mark.parametrize(
    ("plugin", "size"),
    [("hal_plugin_gen3_fx3", (480, 640)), ("hal_plugin_gen41_evk3", (720, 1280)), ("hal_plugin_genx320", (320, 320))],
)
def test_early_headers_name_the_camera_alone(tmp_path: Path, plugin: str, size: tuple[int, int]) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(write_header([("evt", "3.0"), ("plugin_name", plugin)], end=True))
    assert sensor_size(path, read_header(path), OpenOptions()) == size
    # A region of interest is the user's to state.
    assert sensor_size(path, read_header(path), OpenOptions(height=100, width=200)) == (100, 200)
    (tmp_path / "sensor.json").write_text('{"height": 10, "width": 20}')
    assert sensor_size(path, read_header(path), OpenOptions()) == (10, 20)


def test_an_unknown_camera_states_no_size(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(write_header([("evt", "3.0"), ("plugin_name", "hal_plugin_gen99_evk9")], end=True))
    with pytest.raises(UnknownSizeError, match="does not state the sensor size"):
        sensor_size(path, read_header(path), OpenOptions())
