"""Recordings are opened by content, and what cannot be opened is named."""

from pathlib import Path

import pytest

from eventsam.io.aedat4 import Aedat4Recording
from eventsam.io.detect import open_recording
from eventsam.io.text import TextRecording

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def test_text_is_recognised_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "night.aedat4"
    file.write_text("0.1 1 2 1\n")
    recording = open_recording(file, height=6, width=8)
    assert isinstance(recording, TextRecording) and recording.num_events == 1
    file.write_text("8 6\n0.1 1 2 1\n")
    assert open_recording(file).height == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"#!AER-DAT2.0\r\n", "another AEDAT version"),
        (b"% Version 2\n", "Prophesee"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"PK\x03\x04rest", "npz"),
        (b"#ROSBAG V2.0\n", "ROS bag"),
        (b"", "not recognised"),
        (b"hello there my friend\n", "not recognised"),
        (b"nan 1 2 3\n", "not recognised"),
        (bytes(range(128, 160)), "not recognised"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "what.bin"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"what.bin: .*{message}.*can be opened"):
        open_recording(file)


def test_folders_without_events_and_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds events.txt"):
        open_recording(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_recording(tmp_path / "absent")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not beside this checkout")
def test_real_recordings() -> None:
    assert isinstance(open_recording(SHARED / "data" / "event_vision_library" / "sample.aedat4"), Aedat4Recording)
    assert isinstance(open_recording(SHARED / "data" / "ijrr_rotation" / "boxes_rotation"), TextRecording)
    with pytest.raises(ValueError, match="another AEDAT version"):
        open_recording(SHARED / "golden" / "ev_raw_davis346.aedat")
