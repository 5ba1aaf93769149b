"""Video files and folders of pictures as luminance frames, one at a time."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

log = logging.getLogger(__name__)

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
LARGEST_RATE_HZ = 1e6
"""Event times are whole microseconds: frames must not come faster."""


@dataclass(frozen=True)
class Video:
    """Frames of one size at an even rate: iterate for (seconds since the first frame, grey (H, W) uint8).

    `num_frames` is what the container declares, None where it does not; a file may end earlier. `pictures` are the
    files of a folder, empty for a video file. Iterating raises ValueError naming a file that cannot be read.
    """

    path: Path
    height: int
    width: int
    frame_rate_hz: float
    num_frames: int | None
    pictures: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[tuple[float, Grey]]:
        """Read from the first frame on."""
        for number, grey in enumerate(self._greys()):
            if grey.shape != (self.height, self.width):
                grey = np.asarray(cv2.resize(grey, (self.width, self.height), interpolation=cv2.INTER_AREA), np.uint8)
            yield number / self.frame_rate_hz, grey

    def _greys(self) -> Iterator[Grey]:
        if not self.pictures:
            yield from _frames_of(self.path, self.num_frames)
            return
        size = None
        for path in self.pictures:
            grey = _picture(path)
            size = size or grey.shape
            if grey.shape != size:
                raise ValueError(f"{path}: is {grey.shape[0]}x{grey.shape[1]}, the pictures before {size[0]}x{size[1]}")
            yield grey


def open_video(path: Path, frame_rate_hz: float | None = None, size: tuple[int, int] | None = None) -> Video:
    """Open a video file, or a folder whose pictures are frames in the order of their names (2 before 10).

    `frame_rate_hz` replaces the file's own rate and is needed for a folder; `size` (height, width) rescales the frames.
    Raises ValueError naming what cannot be read or is missing.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such video file or folder of pictures")
    if frame_rate_hz is not None and not 0 < frame_rate_hz <= LARGEST_RATE_HZ:
        raise ValueError(f"the frame rate is {frame_rate_hz} Hz, allowed: above 0, up to {LARGEST_RATE_HZ:g}")
    if size is not None and min(size) < 1:
        raise ValueError(f"frames of {size[0]}x{size[1]} are asked for, allowed: 1 pixel and more on each side")
    if path.is_dir():
        return _open_folder(path, frame_rate_hz, size)
    capture = _capture(path)
    try:
        rate = float(capture.get(cv2.CAP_PROP_FPS)) if frame_rate_hz is None else frame_rate_hz
        declared = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        read, first = capture.read()
    finally:
        capture.release()
    if not read:
        raise ValueError(f"{path}: not a single frame of this video can be read")
    if not 0 < rate <= LARGEST_RATE_HZ:
        raise ValueError(f"{path}: states no usable frame rate ({rate}); give one (--input-frame-rate)")
    height, width = size or first.shape[:2]
    return Video(path, height, width, rate, declared if declared > 0 else None)


def _open_folder(path: Path, frame_rate_hz: float | None, size: tuple[int, int] | None) -> Video:
    pictures = sorted((file for file in path.iterdir() if file.suffix.lower() in PICTURES), key=_natural)
    if not pictures:
        raise ValueError(f"{path}: holds no pictures (allowed: {', '.join(PICTURES)})")
    if frame_rate_hz is None:
        raise ValueError(f"{path}: pictures have no frame rate of their own; give one (--input-frame-rate)")
    height, width = size or _picture(pictures[0]).shape
    return Video(path, height, width, frame_rate_hz, len(pictures), tuple(pictures))


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort numbers inside names by value."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts if part]


def _capture(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise ValueError(
            f"{path}: not a video that OpenCV can open (a container or codec it does not know, or no video)"
        )
    return capture


def _frames_of(path: Path, declared: int | None) -> Iterator[Grey]:
    capture = _capture(path)
    number = 0
    try:
        while True:
            read, image = capture.read()
            if not read:
                break
            number += 1
            yield _luminance(image)
    finally:
        capture.release()
    if declared is not None and number < declared:
        log.warning("%s: declares %d frames, only %d could be read", path, declared, number)


def _picture(path: Path) -> Grey:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not a picture that can be read")
    return _luminance(image)


def _luminance(image: NDArray[np.uint8]) -> Grey:
    """0.299 R + 0.587 G + 0.114 B of OpenCV's (H, W, 3), without undoing any gamma, as the pixel model expects."""
    if image.ndim == 2:
        return image
    grey: Grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return grey
