"""Text recordings: units, sensor size, frames, damage, and the real ones where they are there."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from eventsam.io.text import TextRecording, read_calibration, read_image

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
LINES = "0.000001 3 1 0\n0.0000024 0 2 1\n1.5 7 5 1\n"


def folder(path: Path, lines: str = LINES, frame: np.ndarray | None = None) -> Path:
    path.mkdir(exist_ok=True)
    (path / "events.txt").write_text(lines)
    if frame is not None:
        cv2.imwrite(str(path / "frame.png"), frame)
    return path


def test_seconds_become_whole_microseconds(tmp_path: Path) -> None:
    recording = TextRecording(folder(tmp_path), height=6, width=8)
    events = recording.events(0, 2_000_000)
    assert events.t.tolist() == [1, 2, 1_500_000]
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == ([3, 0, 7], [1, 2, 5], [0, 1, 1])
    assert (recording.num_events, recording.t_first_us, recording.t_last_us) == (3, 1, 1_500_000)
    assert len(recording.events(1, 2)) == 1
    assert len(recording.frames()) == 0


def test_signed_polarity_is_read(tmp_path: Path) -> None:
    recording = TextRecording(folder(tmp_path, "0.1 1 1 -1\n0.2 1 1 1\n"), height=6, width=8)
    assert recording.events(0, 10**6).p.tolist() == [0, 1]


def test_sensor_size_comes_from_argument_first_line_sidecar_or_frame(tmp_path: Path) -> None:
    path = folder(tmp_path, frame=np.zeros((10, 12), np.uint8))
    assert (TextRecording(path).height, TextRecording(path).width) == (10, 12)
    (path / "sensor.json").write_text('{"height": 20, "width": 30}')
    assert (TextRecording(path).height, TextRecording(path).width) == (20, 30)
    folder(tmp_path, "240 180\n" + LINES)
    recording = TextRecording(path)
    assert (recording.height, recording.width, recording.num_events) == (180, 240, 3)
    recording = TextRecording(path, height=7, width=9)
    assert (recording.height, recording.width, recording.num_events) == (7, 9, 3)
    lone = TextRecording(path / "events.txt")
    assert (lone.height, lone.width, len(lone.frames())) == (180, 240, 0)


def test_an_unknown_sensor_size_is_never_guessed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"events.txt: the sensor size is not known: give height and width"):
        TextRecording(folder(tmp_path))
    with pytest.raises(ValueError, match="together"):
        TextRecording(tmp_path, height=5)
    (tmp_path / "sensor.json").write_text('{"height": 20}')
    with pytest.raises(ValueError, match=r"sensor.json: expected"):
        TextRecording(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "is empty"),
        ("0.1 1 1\n", "expected lines"),
        ("0.1 1 1 1\n0.2 1 1\n", "expected lines"),
        ("0.1 one 1 1\n", "expected lines"),
        ("0.1 1.5 1 1\n", "expected lines"),
        ("nan 1 1 1\n", "not a finite number"),
        ("0.2 1 1 1\n0.1 1 1 1\n", "t goes back at event 1"),
        ("0.1 8 1 1\n", "x reaches 8"),
        ("0.1 -1 1 1\n", "x runs from -1"),
        ("0.1 1 1 2\n", "values other than -1, 0, 1"),
    ],
)
def test_faulty_lines_are_refused_by_file(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"events.txt: .*{message}"):
        TextRecording(folder(tmp_path, lines), height=6, width=8)


def test_a_lone_frame_stands_at_the_middle_of_the_span(tmp_path: Path) -> None:
    image = np.arange(48, dtype=np.uint8).reshape(6, 8)
    recording = TextRecording(folder(tmp_path, frame=image))
    assert recording.has_lone_frame
    frame = recording.frames()[0]
    assert frame.t_us == frame.exposure_start_us == frame.exposure_end_us == 750_000
    assert np.array_equal(frame.image, image[None])


def test_listed_frames_keep_their_times(tmp_path: Path) -> None:
    path = folder(tmp_path, frame=np.zeros((6, 8), np.uint8))
    colour = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    cv2.imwrite(str(path / "a.png"), colour)
    (path / "images.txt").write_text("0.25 a.png\n0.5000004 a.png\n")
    recording = TextRecording(path)
    frames = recording.frames()
    assert not recording.has_lone_frame
    assert [frame.t_us for frame in frames] == [250_000, 500_000]
    assert np.array_equal(frames[0].rgb, colour[..., ::-1].transpose(2, 0, 1))
    (path / "images.txt").write_text("0.25 a.png\n0.5 b.png\n")
    with pytest.raises(ValueError, match=r"b.png: cannot be read"):
        TextRecording(path).frames()[1]
    (path / "images.txt").write_text("0.25 a.png\nb.png\n")
    with pytest.raises(ValueError, match=r"images.txt: line 2 is 'b.png'"):
        TextRecording(path)


def test_broken_images_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x89PNG and nothing else"):
        (tmp_path / "frame.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"frame.png: not an image"):
            read_image(tmp_path / "frame.png")


@pytest.mark.parametrize("content", ["1 2 3", "1 2 3 4 5 6 7 8 nine", "0 2 3 4 5 6 7 8 9", "nan 2 3 4 5 6 7 8 9"])
def test_faulty_calibration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "calib.txt").write_text(content)
    with pytest.raises(ValueError, match=r"calib.txt"):
        read_calibration(tmp_path / "calib.txt")


@pytest.mark.skipif(not DATA.is_dir(), reason="the recordings are not beside this checkout")
@pytest.mark.parametrize("name", ["boxes_rotation", "dynamic_rotation", "poster_rotation", "shapes_rotation", "slider"])
def test_real_recordings(name: str) -> None:
    slider = name == "slider"
    entry = "slider_depth/events_chunk.txt" if slider else f"ijrr_rotation/{name}/events.txt"
    expected = json.loads((DATA / "expected.json").read_text())[entry]
    file = DATA / entry
    recording = TextRecording(file, height=180, width=240) if slider else TextRecording(file.parent)
    assert (recording.height, recording.width) == (expected["height"], expected["width"])
    events = recording.events(recording.t_first_us, recording.t_last_us + 1)
    decoded = np.stack([events.x, events.y, events.t, events.p], axis=1).astype("<i8")
    assert hashlib.sha256(decoded.tobytes()).hexdigest() == expected["sha256_xytp_int64_us"]
    assert len(recording.frames()) == (0 if slider else 1)
