"""Pictures as an mp4 file, written one by one."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def write_video(path: Path, images: Iterable[NDArray[np.uint8]], frames_per_second: float) -> int:
    """Write uint8 (h, w, 3) images of one size as an MPEG-4 video and return how many there were.

    The file appears under its name only when all is written; an interrupted one leaves nothing. Raises ValueError for
    an impossible rate, no image, images of different sizes, or a file that cannot be written.
    """
    if not (np.isfinite(frames_per_second) and frames_per_second > 0):
        raise ValueError(f"frames_per_second is {frames_per_second}, allowed: finite, above 0")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.unfinished.mp4")
    try:
        num_images = _write(unfinished, images, frames_per_second, path)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return num_images


def _write(file: Path, images: Iterable[NDArray[np.uint8]], frames_per_second: float, path: Path) -> int:
    writer, shape, number = None, None, 0
    try:
        for number, image in enumerate(images, start=1):
            if writer is None:
                shape = image.shape
                writer = _open(file, _even(image).shape, frames_per_second, path)
            if image.shape != shape:
                raise ValueError(
                    f"{path}: image {number} is {image.shape}, the first was {shape}: sizes must not change"
                )
            writer.write(np.ascontiguousarray(_even(image)[..., ::-1]))
    finally:
        if writer is not None:
            writer.release()
    if not number:
        raise ValueError(f"{path}: a video needs at least one image")
    if not file.is_file() or not file.stat().st_size:
        raise ValueError(f"{path}: could not be written")
    return number


def _open(file: Path, shape: tuple[int, ...], frames_per_second: float, path: Path) -> cv2.VideoWriter:
    size = (shape[1], shape[0])
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_second, size)
    if not writer.isOpened():
        raise ValueError(f"{path}: OpenCV cannot write an mp4 of {shape[0]} x {shape[1]} pixels there")
    return writer


def _even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image with its last row and column doubled where their number is odd: colour is stored per 2 x 2."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
