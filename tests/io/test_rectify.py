"""Rectified events: the camera of the published frames, and events that match those frames."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.rectify import Rectification, filled_camera_matrix, rectification
from eventsam.io.text import TextRecording, read_calibration

IJRR = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ijrr_rotation"
HEIGHT, WIDTH = 180, 240
MATRIX = np.array([[199.0, 0, 132.0], [0, 199.0, 111.0], [0, 0, 1]])
BARREL = np.array([-0.37, 0.15, -0.0003, -0.0008, 0.0])
real = pytest.mark.skipif(not IJRR.is_dir(), reason="the recordings are not beside this checkout")


def all_pixels() -> Events:
    y, x = np.divmod(np.arange(HEIGHT * WIDTH), WIDTH)
    return Events.from_arrays(x, y, np.arange(len(x)), np.ones(len(x), np.uint8), height=HEIGHT, width=WIDTH)


def test_without_distortion_the_middle_stays_and_order_is_kept() -> None:
    events = all_pixels()
    rectified = rectification(MATRIX, np.zeros(5), HEIGHT, WIDTH)(events)
    # The filled camera maps 0..width onto 0..width - 1, so nothing moves by more than a pixel.
    kept = np.isin(events.t, rectified.t)
    assert kept.all()
    assert np.abs(rectified.x.astype(int) - events.x).max() <= 1
    assert np.abs(rectified.y.astype(int) - events.y).max() <= 1


def test_a_barrel_image_is_filled_and_its_corners_leave() -> None:
    rectified = rectification(MATRIX, BARREL, HEIGHT, WIDTH)(all_pixels())
    assert 0.9 < len(rectified) / (HEIGHT * WIDTH) < 0.99
    hit = np.zeros((HEIGHT, WIDTH), np.uint8)
    hit[rectified.y, rectified.x] = 1
    # Nearest pixels leave single gaps, never an empty area.
    assert cv2.dilate(hit, np.ones((3, 3), np.uint8)).all()


def test_events_of_another_sensor_are_refused() -> None:
    with pytest.raises(ValueError, match=r"events of 4x4 pixels, rectification for 180x240"):
        rectification(MATRIX, BARREL, HEIGHT, WIDTH)(Events.empty(4, 4))


@pytest.mark.parametrize("distortion", [[-1.0, 0, 0, 0, 0], [0, 0, 5.0, 0, 0], [0, 0, 0, 0, -100.0]])
def test_lenses_that_fold_the_image_are_refused(distortion: list[float]) -> None:
    with pytest.raises(ValueError, match="cannot be inverted over the image"):
        filled_camera_matrix(MATRIX, np.array(distortion), HEIGHT, WIDTH)


@real
@pytest.mark.parametrize("name", ["boxes_rotation", "poster_rotation"])
def test_camera_is_the_one_of_the_published_undistorted_events(name: str) -> None:
    """events.npy holds the raw events undistorted and moved along the flow; only the right camera reproduces it."""
    raw, moved = TextRecording(IJRR / name).events(0, 2**40), np.load(IJRR / name / "events.npy")
    flow, span = np.load(IJRR / name / "flow.npy")[0].astype(np.float32), (raw.t[-1] - raw.t[0]) / 1e6
    matrix, distortion = read_calibration(IJRR / name / "calib.txt")
    camera = filled_camera_matrix(matrix, distortion, HEIGHT, WIDTH)
    points = np.stack([raw.x, raw.y], axis=1).astype(np.float64)[:, None]
    flat = cv2.undistortPoints(points, matrix, distortion, P=camera)[:, 0].astype(np.float32)
    # The first event is in both files, so the time that events.npy counts from is known.
    seconds = (raw.t - raw.t[0]) / 1e6 + float(moved[0, 0])
    along = np.stack([cv2.remap(plane, flat[:, :1], flat[:, 1:], cv2.INTER_LINEAR)[:, 0] for plane in flow], axis=1)
    predicted = flat - along * (seconds / span)[:, None]
    first = match(seconds, raw.p, moved)
    error = np.hypot(*(predicted[first] - moved[:, 1:3]).T)
    assert np.median(error) < 0.01
    assert np.quantile(error, 0.9) < 0.05


def match(seconds: NDArray[np.float64], p: NDArray[np.uint8], moved: NDArray[np.float32]) -> list[int]:
    """Number of the raw event behind each row of events.npy: in order, same time, same polarity."""
    found: list[int] = []
    for i in range(len(seconds)):
        row = moved[min(len(found), len(moved) - 1)]
        if len(found) < len(moved) and abs(seconds[i] - row[0]) < 1.2e-6 and p[i] == row[3]:
            found.append(i)
    assert len(found) == len(moved)
    return found


@real
@pytest.mark.parametrize("name", ["boxes_rotation", "dynamic_rotation", "poster_rotation", "shapes_rotation"])
def test_rectified_events_lie_on_the_edges_of_the_rectified_frame(name: str) -> None:
    recording = TextRecording(IJRR / name)
    matrix, distortion = read_calibration(IJRR / name / "calib.txt")
    frame = recording.frames()[0]
    raw = recording.events(frame.t_us - 3000, frame.t_us + 3000)
    rectify = rectification(matrix, distortion, HEIGHT, WIDTH)
    same = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    aligned, unaligned = (edge_correlation(frame.image[0], r(raw)) for r in (rectify, Rectification(same)))
    assert aligned > 0.4
    assert unaligned < 0.1


def edge_correlation(image: NDArray[np.uint8], events: Events) -> float:
    """Correlation of the image's gradient with the event counts, both locally normalised, away from the border."""
    smooth = cv2.GaussianBlur(np.log1p(image.astype(np.float32)), (0, 0), 1.0)
    gradient = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    counts = np.zeros(image.shape, np.float32)
    np.add.at(counts, (events.y, events.x), 1)
    maps = []
    for values in (np.sqrt(gradient), np.sqrt(cv2.GaussianBlur(counts, (0, 0), 1.0))):
        deviation = values - cv2.GaussianBlur(values, (0, 0), 6.0)
        spread = np.sqrt(cv2.GaussianBlur(deviation**2, (0, 0), 6.0) + 1e-3)
        maps.append((deviation / spread)[12:-12, 12:-12].ravel())
    return float(np.corrcoef(maps[0], maps[1])[0, 1])
