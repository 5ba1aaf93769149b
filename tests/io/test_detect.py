"""Recordings are opened by content, whatever their name, and what cannot be opened is named."""

from pathlib import Path

import pytest

from eventsam.io.detect import detect_format, find_format, formats, open_recording
from eventsam.io.recording import OpenOptions, RecordingError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def test_text_is_recognised_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "night.aedat4"
    file.write_text("0.1 1 2 1\n")
    recording = open_recording(file, OpenOptions(height=6, width=8))
    assert recording.format == "text" and recording.num_events == 1
    file.write_text("8 6\n0.1 1 2 1\n")
    assert open_recording(file).height == 6


@pytest.mark.parametrize(
    "content", [b"hello there my friend\n", b"nan 1 2 3\n", bytes(range(128, 160)), b"% a matrix in TeX\n", b"GIF89a"]
)
def test_other_files_are_refused_with_what_can_be_opened(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "what.bin"
    file.write_bytes(content)
    with pytest.raises(RecordingError, match=r"what.bin: not recognised .*can be opened: .*AEDAT"):
        open_recording(file)


def test_empty_files_folders_and_missing_paths(tmp_path: Path) -> None:
    empty = tmp_path / "empty.raw"
    empty.touch()
    with pytest.raises(RecordingError, match=r"empty.raw: the file is empty"):
        open_recording(empty)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RecordingError, match="the folder holds no recording"):
        open_recording(tmp_path / "folder")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        open_recording(tmp_path / "absent")


def test_names_of_formats() -> None:
    assert find_format("text").name == "text"
    with pytest.raises(ValueError, match="did you mean 'aedat4'"):
        find_format("aedat5")
    assert all(entry.title for entry in formats().values())


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not beside this checkout")
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("data/event_vision_library/sample.aedat4", "aedat4"),
        ("data/ijrr_rotation/boxes_rotation", "text"),
        ("data/slider_depth/events_chunk.txt", "text"),
        ("data/prophesee_raw/evt2_sample.raw", "evt2"),
        ("data/prophesee_raw/evt3_sample.raw", "evt3"),
        ("data/loris/NCARS_obj_004397_td.dat", "dat"),
        ("golden/ev_raw_davis346.aedat", "aedat2"),
        ("golden/ev_raw_lz4.aedat4", "aedat4"),
        ("golden/ev_raw_cd.dat", "dat"),
        ("golden/ev_raw_evt2.raw", "evt2"),
        ("golden/ev_raw_evt3.raw", "evt3"),
    ],
)
def test_real_recordings(file: str, name: str) -> None:
    assert detect_format(SHARED / file).name == name
