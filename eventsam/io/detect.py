"""Which reader opens a path: decided by what it holds, never by its name."""

from pathlib import Path

from eventsam.io.aedat4 import Aedat4Recording
from eventsam.io.aedat4_packets import MAGIC
from eventsam.io.recording import Recording
from eventsam.io.text import TextRecording, read_size_line

KNOWN_BUT_UNREAD = {
    b"#!AER-DAT": "another AEDAT version",
    b"% ": "a Prophesee recording (RAW or DAT)",
    b"\x89HDF": "an HDF5 file",
    b"PK\x03\x04": "a NumPy .npz (zip) archive",
    b"#ROSBAG": "a ROS bag",
}
"""First bytes of formats that are recognised, so that the message can name them."""


def open_recording(path: Path, height: int | None = None, width: int | None = None) -> Recording:
    """Open a recording: an AEDAT 4 file, a folder with events.txt, or a text file of `t[s] x y p` lines.

    `height` and `width` state the sensor of text files that do not (see `eventsam.io.text`). Raises ValueError saying
    what was found and what can be opened, FileNotFoundError for a path that is not there.
    """
    if path.is_dir():
        if not (path / "events.txt").is_file():
            raise ValueError(f"{path}: a recording folder holds events.txt, this one does not")
        return TextRecording(path, height, width)
    with path.open("rb") as file:
        start = file.read(4096)
    if start.startswith(MAGIC):
        return Aedat4Recording(path)
    for magic, name in KNOWN_BUT_UNREAD.items():
        if start.startswith(magic):
            raise ValueError(f"{path}: is {name}; can be opened: AEDAT 4 files, text files, folders with events.txt")
    if _looks_like_events(start) or (read_size_line(path) and _looks_like_events(start.split(b"\n", 1)[-1])):
        return TextRecording(path, height, width)
    raise ValueError(
        f"{path}: not recognised (starts with {start[:16]!r}); can be opened: AEDAT 4 files, text files of "
        "`t[s] x y p` lines, folders with events.txt"
    )


def _looks_like_events(start: bytes) -> bool:
    words = start.split(b"\n", 1)[0].split()
    try:
        return len(words) == 4 and all(float(word) == float(word) for word in words)
    except ValueError:
        return False
