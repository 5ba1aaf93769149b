"""Undistorted events: nearest pixels of the exact places, in the published camera or the calibrated one."""

from pathlib import Path

import numpy as np
import pytest
from events_support import random_events, same

from eventsam.event_transforms import Undistort
from eventsam.events import Events
from eventsam.io.rectify import rectification
from eventsam.io.text import read_calibration

CALIBRATION = "199.0 198.5 132.0 111.0 -0.37 0.15 -0.0003 -0.0008 0.0\n"


@pytest.fixture
def undistort(tmp_path: Path) -> Undistort:
    (tmp_path / "calib.txt").write_text(CALIBRATION)
    return Undistort.from_file(tmp_path / "calib.txt")


def test_a_calibration_is_read(undistort: Undistort) -> None:
    assert undistort.camera == (199.0, 198.5, 132.0, 111.0)
    assert undistort.distortion == (-0.37, 0.15, -0.0003, -0.0008, 0.0)


def test_the_filled_view_is_that_of_rectified_frames(undistort: Undistort, tmp_path: Path) -> None:
    events = random_events(0, 3000, height=180, width=240)
    matrix, distortion = read_calibration(tmp_path / "calib.txt")
    assert same(undistort(events), rectification(matrix, distortion, 180, 240)(events))
    assert len(undistort(events)) < len(events)


@pytest.mark.parametrize("view", ["filled", "same"])
def test_pixels_are_the_nearest_to_the_points(undistort: Undistort, view: str) -> None:
    undistort = Undistort(undistort.camera, undistort.distortion, view)  # type: ignore[arg-type]
    events = random_events(1, 3000, height=180, width=240)
    points = undistort.points(events)
    near = np.rint(points)
    inside = ((near >= 0) & (near < (240, 180))).all(axis=1)
    moved = undistort(events)
    np.testing.assert_array_equal(np.stack([moved.x, moved.y], axis=-1), near[inside])
    np.testing.assert_array_equal(moved.t, events.t[inside])


def test_the_same_view_leaves_the_optical_axis_where_it_is(undistort: Undistort) -> None:
    same_view = Undistort(undistort.camera, undistort.distortion, "same")
    middle = Events.from_arrays([132], [111], [0], [1], height=180, width=240)
    np.testing.assert_allclose(same_view.points(middle), [[132.0, 111.0]], atol=1e-6)
    corner = Events.from_arrays([0], [0], [0], [1], height=180, width=240)
    # A barrel lens pulls corners in; taken out, they lie further out.
    assert (same_view.points(corner) < 0).all()
    assert same_view.points(Events.empty(180, 240)).shape == (0, 2)


def test_lenses_that_fold_the_image_are_refused() -> None:
    folding = Undistort((199.0, 199.0, 132.0, 111.0), (-1.0, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="cannot be inverted over the image"):
        folding(random_events(0, 5, height=180, width=240))
