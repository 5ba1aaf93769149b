"""Text recordings in the layout of the Event Camera Dataset (Mueggler et al., IJRR 2017): events.txt beside frames.

A folder holds `events.txt` (`t[s] x y p` per line), and may hold `frame.png` (one frame, its time not stated), or
`images.txt` (`t[s] file` per line) with the files it names, and `calib.txt` (`fx fy cx cy k1 k2 p1 p2 k3`). A lone
events file also opens. The sensor size comes from the caller, a first line `width height`, `sensor.json`
(`{"height": 180, "width": 240}`) in the folder, or the first frame: never from the largest coordinate seen.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.recording import Frame, LazyFrames

COLUMNS = {"t": pa.float64(), "x": pa.int32(), "y": pa.int32(), "p": pa.int8()}


class TextRecording:
    """A folder in the layout above, or one events file; the events are held in memory.

    Times are the file's seconds as whole microseconds (rounded to nearest). A frame of `images.txt` keeps its time; the
    time of a lone `frame.png` is not in the files, so it is the middle of the events' span. Exposures are not stated:
    a frame's three times are equal. Every fault of a file raises ValueError naming it.
    """

    def __init__(self, path: Path, height: int | None = None, width: int | None = None) -> None:
        """Read the events; give height and width together where no file states them."""
        self.path = path
        self.folder = path if path.is_dir() else path.parent
        file = path / "events.txt" if path.is_dir() else path
        with_frames = path.is_dir()
        self._listed = _read_image_list(self.folder) if with_frames else []
        lone = self.folder / "frame.png"
        self._lone_frame = lone if with_frames and not self._listed and lone.is_file() else None
        header = read_size_line(file)
        frames = [image for _, image in self._listed[:1]] or ([self._lone_frame] if self._lone_frame else [])
        self.height, self.width = _find_size(file, height, width, header, frames)
        self._events = _read_events(file, self.height, self.width, skip_lines=0 if header is None else 1)

    @property
    def num_events(self) -> int:
        """Number of events."""
        return len(self._events)

    @property
    def t_first_us(self) -> int:
        """Time of the first event; 0 where there is none."""
        return int(self._events.t[0]) if len(self._events) else 0

    @property
    def t_last_us(self) -> int:
        """Time of the last event; 0 where there is none."""
        return int(self._events.t[-1]) if len(self._events) else 0

    @property
    def has_lone_frame(self) -> bool:
        """True where the one frame is `frame.png`, whose time is not stated."""
        return self._lone_frame is not None

    def events(self, t0: int, t1: int) -> Events:
        """Return the events with t in [t0, t1) us."""
        return self._events.between(t0, t1)

    def frames(self) -> Sequence[Frame]:
        """Return the frames in the order of their list, read one by one."""
        return LazyFrames(1 if self._lone_frame else len(self._listed), self._read_frame)

    def _read_frame(self, number: int) -> Frame:
        if self._lone_frame:
            t_us = (self.t_first_us + self.t_last_us) // 2
            return Frame(t_us, t_us, t_us, read_image(self._lone_frame))
        t_us, file = self._listed[number]
        return Frame(t_us, t_us, t_us, read_image(file))


def read_image(file: Path) -> NDArray[np.uint8]:
    """Read an image file as uint8 (1, H, W) where it is grey, (3, H, W) red, green, blue where it is colour."""
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from error
    image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR) if data.size else None
    if image is None:
        raise ValueError(f"{file}: not an image that can be read")
    planes = image[None] if image.ndim == 2 else image[..., ::-1].transpose(2, 0, 1)
    return np.ascontiguousarray(planes, dtype=np.uint8)


def read_calibration(file: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the camera matrix (3, 3) and the distortion k1 k2 p1 p2 k3 (5,) of a `calib.txt`."""
    try:
        values = np.array(file.read_text().split(), np.float64)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: expected numbers: {error}") from error
    if len(values) != 9 or not np.isfinite(values).all() or (values[:2] <= 0).any():
        raise ValueError(f"{file}: holds {len(values)} numbers, expected fx fy cx cy k1 k2 p1 p2 k3 with fx, fy > 0")
    fx, fy, cx, cy = values[:4]
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), values[4:]


def read_size_line(file: Path) -> tuple[int, int] | None:
    """Return (height, width) where the first line of an events file is `width height`, else None."""
    with file.open("rb") as lines:
        words = lines.readline(256).split()
    if len(words) == 2 and all(word.isdigit() for word in words):
        return int(words[1]), int(words[0])
    return None


def _read_events(file: Path, height: int, width: int, skip_lines: int) -> Events:
    reading = pa.csv.ReadOptions(column_names=list(COLUMNS), skip_rows=skip_lines)
    parsing = pa.csv.ParseOptions(delimiter=" ")
    converting = pa.csv.ConvertOptions(column_types=COLUMNS, null_values=[])
    if file.stat().st_size == 0:
        raise ValueError(f"{file}: the file is empty")
    try:
        table = pa.csv.read_csv(file, reading, parsing, converting)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file}: expected lines `t[s] x y p`: {error}") from error
    columns = {name: table[name].to_numpy() for name in COLUMNS}
    if not np.isfinite(columns["t"]).all():
        raise ValueError(f"{file}: a time is not a finite number")
    t = np.rint(columns["t"] * 1e6).astype(np.int64)
    return Events.from_arrays(columns["x"], columns["y"], t, columns["p"], height=height, width=width, source=str(file))


def _find_size(
    file: Path, height: int | None, width: int | None, header: tuple[int, int] | None, frames: Sequence[Path]
) -> tuple[int, int]:
    if (height is None) != (width is None):
        raise ValueError(f"{file}: give height and width together, not one of them")
    if height is not None and width is not None:
        return height, width
    if header is not None:
        return header
    sidecar = file.parent / "sensor.json"
    if sidecar.is_file():
        return _read_sidecar(sidecar)
    if frames:
        _, rows, columns = read_image(frames[0]).shape
        return rows, columns
    raise ValueError(
        f"{file}: the sensor size is not known: give height and width, or put sensor.json "
        '({"height": 180, "width": 240}) or a frame beside it'
    )


def _read_sidecar(file: Path) -> tuple[int, int]:
    try:
        content = json.loads(file.read_text())
        return int(content["height"]), int(content["width"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{file}: expected {{"height": rows, "width": columns}}: {error!r}') from error


def _read_image_list(folder: Path) -> list[tuple[int, Path]]:
    file = folder / "images.txt"
    if not file.is_file():
        return []
    entries = []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        try:
            seconds, name = line.split()
            entries.append((round(float(seconds) * 1e6), folder / name))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{file}: line {number} is {line!r}, expected `t[s] file`") from error
    return entries
