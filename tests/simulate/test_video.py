"""Video files and folders of pictures, whole and broken."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from eventsam.simulate.video import open_video


def _write_video(path: Path, num_frames: int = 6, rate_hz: float = 25.0) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate_hz, (48, 32))
    for number in range(num_frames):
        writer.write(np.full((32, 48, 3), (30 * number + 20) % 256, np.uint8))
    writer.release()


def _write_pictures(folder: Path, names: list[str], size: tuple[int, int] = (20, 30)) -> None:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        image = np.zeros((*size, 3), np.uint8)
        image[..., 2] = 10 * (number + 1)
        cv2.imwrite(str(folder / name), image)


def test_a_video_gives_its_frames_and_times(tmp_path: Path) -> None:
    _write_video(tmp_path / "clip.avi")
    video = open_video(tmp_path / "clip.avi")
    assert (video.height, video.width, video.num_frames) == (32, 48, 6)
    frames = list(video)
    np.testing.assert_allclose([seconds for seconds, _ in frames], np.arange(6) / 25)
    np.testing.assert_allclose([grey.mean() for _, grey in frames], np.arange(6) * 30 + 20, atol=2)
    half = list(open_video(tmp_path / "clip.avi", frame_rate_hz=100.0, size=(16, 24)))
    assert half[1][0] == 0.01 and half[1][1].shape == (16, 24) and half[1][1].dtype == np.uint8


def test_pictures_sort_by_number_and_become_luminance(tmp_path: Path) -> None:
    _write_pictures(tmp_path / "frames", ["f2.png", "f10.png", "f1.png"])
    (tmp_path / "frames" / "notes.txt").write_text("not a picture")
    video = open_video(tmp_path / "frames", frame_rate_hz=10.0)
    # Red alone counts 0.299: written as 10, 20, 30 to f2, f10, f1.
    assert [int(grey[0, 0]) for _, grey in video] == [9, 3, 6]
    assert video.num_frames == 3 and [seconds for seconds, _ in video] == [0.0, 0.1, 0.2]


def test_inputs_that_are_no_video_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.mp4: no such"):
        open_video(tmp_path / "nothing.mp4")
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.mp4: not a video"):
        open_video(tmp_path / "text.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no pictures"):
        open_video(tmp_path / "empty", 30.0)
    _write_pictures(tmp_path / "frames", ["a.png"])
    with pytest.raises(ValueError, match="no frame rate"):
        open_video(tmp_path / "frames")
    for rate in (0.0, -5.0, float("nan"), 1e9):
        with pytest.raises(ValueError, match="frame rate is"):
            open_video(tmp_path / "frames", rate)


def test_a_broken_or_odd_picture_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    _write_pictures(folder, ["a.png", "b.png"])
    _write_pictures(folder, ["c.png"], size=(21, 30))
    with pytest.raises(ValueError, match=r"c\.png: is 21x30"):
        list(open_video(folder, 30.0))
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:20])
    with pytest.raises(ValueError, match=r"b\.png: not a picture"):
        list(open_video(folder, 30.0))


def test_a_cut_video_ends_early_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _write_pictures(tmp_path / "frames", ["a.png"])
    _write_video(tmp_path / "clip.avi", 30)
    data = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    try:
        video = open_video(tmp_path / "cut.avi")
    except ValueError as error:
        assert "cut.avi" in str(error)
        return
    with caplog.at_level(logging.WARNING):
        read = len(list(video))
    assert read < 30 and (video.num_frames == read or video.num_frames is None or "could be read" in caplog.text)
