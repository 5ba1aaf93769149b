"""Text recordings: lines of `t x y p`, alone or in a folder of the Event Camera Dataset (Mueggler et al., IJRR 2017).

A folder holds `events.txt`, and may hold `frame.png` (one frame, its time not stated), or `images.txt` (`t[s] file` per
line) with the files it names, and `calib.txt` (`fx fy cx cy k1 k2 p1 p2 k3`). A lone events file also opens. Columns
may be parted by spaces, tabs or commas, stand in another order under a line of names, and count seconds or whole
microseconds (`text_header`); `#` starts a comment. The sensor size comes from a first line `width height`,
`sensor.json` (`{"height": 180, "width": 240}`) beside the events, the options, or the first frame.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.block_recording import BlockRecording
from eventsam.io.format import Format
from eventsam.io.recording import Frame, LazyFrames, OpenOptions, RecordingError
from eventsam.io.sidecar import sidecar_size
from eventsam.io.text_header import HEADER_BYTES, TextHeader, read_text_header
from eventsam.io.text_lines import LINE_BYTES, format_lines
from eventsam.io.text_source import TextSource


class TextRecording(BlockRecording):
    """A folder in the layout above, or one events file, read by blocks of lines.

    Times are the file's decimal seconds as whole microseconds, rounded to nearest (ties to even) without passing
    through floats. A frame of `images.txt` keeps its time; the time of a lone `frame.png` is not in the files, so it is
    the middle of the events' span. Exposures are not stated: a frame's three times are equal.
    """

    def __init__(self, path: Path, options: OpenOptions | None = None) -> None:
        """Index the events; raise RecordingError naming the file and the line of a fault."""
        options = options or OpenOptions()
        folder = path if path.is_dir() else path.parent
        file = path / "events.txt" if path.is_dir() else path
        self._listed = _read_image_list(folder) if path.is_dir() else []
        lone = folder / "frame.png"
        self._lone_frame = lone if path.is_dir() and not self._listed and lone.is_file() else None
        header = _read_header(file)
        size = self._find_size(file, header, options)
        super().__init__("text", path, size, TextSource(file, header, size, options), options)

    @property
    def has_lone_frame(self) -> bool:
        """True where the one frame is `frame.png`, whose time is not stated."""
        return self._lone_frame is not None

    def frames(self) -> Sequence[Frame]:
        """Return the frames in the order of their list, read one by one."""
        return LazyFrames(1 if self._lone_frame else len(self._listed), self._read_frame)

    def _read_frame(self, number: int) -> Frame:
        if self._lone_frame:
            t_us = (self.t_first_us + self.t_last_us) // 2
            return Frame(t_us, t_us, t_us, read_image(self._lone_frame))
        t_us, file = self._listed[number]
        return Frame(t_us, t_us, t_us, read_image(file))

    def _find_size(self, file: Path, header: TextHeader, options: OpenOptions) -> tuple[int, int]:
        stated = header.size or sidecar_size(file.parent)
        frames = [self._lone_frame] if self._lone_frame else [image for _, image in self._listed[:1]]
        if stated is None and options.height is None and frames:
            # Frames may be cropped or of another camera: they say the size only where nobody else does.
            _, rows, columns = read_image(frames[0]).shape
            stated = rows, columns
        return options.size(file, stated)


def read_image(file: Path) -> NDArray[np.uint8]:
    """Read an image file as uint8 (1, H, W) where it is grey, (3, H, W) red, green, blue where it is colour."""
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise RecordingError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR) if data.size else None
    except cv2.error as error:
        raise RecordingError(f"{file}: not an image that can be read: {error}") from error
    if image is None:
        raise RecordingError(f"{file}: not an image that can be read")
    planes = image[None] if image.ndim == 2 else image[..., ::-1].transpose(2, 0, 1)
    return np.ascontiguousarray(planes, dtype=np.uint8)


def read_calibration(file: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the camera matrix (3, 3) and the distortion k1 k2 p1 p2 k3 (5,) of a `calib.txt`."""
    try:
        values = np.array(file.read_text().split(), np.float64)
    except (OSError, ValueError) as error:
        raise RecordingError(f"{file}: expected numbers: {error}") from error
    if len(values) != 9 or not np.isfinite(values).all() or (values[:2] <= 0).any():
        raise RecordingError(
            f"{file}: holds {len(values)} numbers, expected fx fy cx cy k1 k2 p1 p2 k3 with fx, fy > 0"
        )
    fx, fy, cx, cy = values[:4]
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), values[4:]


def read_size_line(file: Path) -> tuple[int, int] | None:
    """Return (height, width) where the first line of an events file is `width height`, else None."""
    with file.open("rb") as lines:
        words = lines.readline(256).split()
    if len(words) == 2 and all(word.isdigit() for word in words):
        return int(words[1]), int(words[0])
    return None


def _read_header(file: Path) -> TextHeader:
    try:
        with file.open("rb") as lines:
            start = lines.read(HEADER_BYTES)
    except OSError as error:
        raise RecordingError(f"{file}: cannot be read: {error.strerror}") from error
    if not start:
        raise RecordingError(f"{file}: the file is empty")
    # What is no header is left to the parser, which names the line.
    return read_text_header(start, len(start) < HEADER_BYTES) or TextHeader(None, 0, (2, 0, 1, 3), 6, True)


def _read_image_list(folder: Path) -> list[tuple[int, Path]]:
    file = folder / "images.txt"
    if not file.is_file():
        return []
    entries = []
    for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            seconds, name = line.split()
            entries.append((round(float(seconds) * 1e6), folder / name))
        except (ValueError, OverflowError) as error:
            raise RecordingError(f"{file}: line {number} is {line!r}, expected `t[s] file`") from error
    return entries


def write_text(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    """Write a line `width height`, then `t[s] x y p` with exactly 6 decimals per event."""
    with path.open("wb") as file:
        file.write(f"{width} {height}\n".encode())
        for chunk in chunks:
            out = np.empty(len(chunk) * LINE_BYTES, np.uint8)
            file.write(out[: format_lines(chunk.x, chunk.y, chunk.t, chunk.p, out)].data)


def _matches(path: Path, start: bytes) -> bool:
    if not start:
        return path.is_dir() and (path / "events.txt").is_file()
    return read_text_header(start, len(start) < 4096) is not None


FORMATS = (Format("text", "text (t x y p)", (".txt",), _matches, TextRecording, write_text),)
