"""Videos: what is written is what plays; nothing is left behind by a failure."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from eventsam.views.video import write_video


def ramps(num_images: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    for number in range(num_images):
        image = np.zeros((height, width, 3), np.uint8)
        image[..., 0] = 40 * number % 256
        image[: height // 2, :, 2] = 200
        yield image


def played(path: Path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    rate, images = capture.get(cv2.CAP_PROP_FPS), []
    while (read := capture.read())[0]:
        images.append(read[1][..., ::-1])
    return images, rate


def test_a_video_plays_as_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "film.mp4"
    assert write_video(path, ramps(6), 12.5) == 6
    images, rate = played(path)
    assert len(images) == 6 and rate == pytest.approx(12.5)
    for shown, written in zip(images, ramps(6), strict=True):
        assert np.abs(shown.astype(int) - written).mean() < 6
    assert list(path.parent.iterdir()) == [path]


def test_odd_sizes_are_made_even(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", ramps(2, 47, 63), 5)
    assert played(tmp_path / "odd.mp4")[0][0].shape == (48, 64, 3)


def test_images_are_taken_one_by_one(tmp_path: Path) -> None:
    alive = []

    def counted() -> Iterator[np.ndarray]:
        for image in ramps(50):
            alive.append(len(alive))
            yield image

    write_video(tmp_path / "long.mp4", counted(), 25)
    assert len(alive) == 50


def test_a_failure_leaves_nothing_and_an_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"old")

    def broken() -> Iterator[np.ndarray]:
        yield from ramps(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, broken(), 25)
    with pytest.raises(ValueError, match=r"film.mp4: image 2 is \(10, 10, 3\), the first was \(48, 64, 3\)"):
        write_video(path, iter([next(ramps(1)), np.zeros((10, 10, 3), np.uint8)]), 25)
    with pytest.raises(ValueError, match="at least one image"):
        write_video(path, iter(()), 25)
    with pytest.raises(ValueError, match="frames_per_second is 0"):
        write_video(path, ramps(1), 0)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
