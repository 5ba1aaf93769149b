"""Lens distortion taken out of the events, given the camera's calibration."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.io.rectify import Rectification, filled_camera_matrix, rectification
from eventsam.io.text import read_calibration

View = Literal["filled", "same"]
"""The camera of the undistorted image: the largest one without empty pixels, or the calibrated one itself."""


@dataclass(frozen=True)
class Undistort:
    """Move every event to the nearest pixel of the undistorted image; those that land outside it are dropped.

    `camera` is fx, fy, cx, cy in pixels, `distortion` k1, k2, p1, p2, k3 (OpenCV's model). The view "filled" is the one
    of published rectified frames; with "same" the calibration stays true, so flow and rays computed from it hold.

    This is what brings raw events onto rectified frames, so it is not refused beside images; where a dataset already
    rectifies (as `davis` does with a `calib.txt`) it must not be done twice.
    """

    camera: tuple[float, float, float, float]
    distortion: tuple[float, float, float, float, float]
    view: View = "filled"
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse calibrations that no camera has."""
        if len(self.camera) != 4 or not np.isfinite(self.camera).all() or min(self.camera[:2]) <= 0:
            raise ValueError(f"camera is {self.camera}, allowed: fx, fy above 0, cx, cy (pixels)")
        if len(self.distortion) != 5 or not np.isfinite(self.distortion).all():
            raise ValueError(f"distortion is {self.distortion}, allowed: k1, k2, p1, p2, k3")
        if self.view not in get_args(View):
            raise ValueError(f"view is {self.view!r}, allowed: {', '.join(get_args(View))}")

    @classmethod
    def from_file(cls, file: Path, view: View = "filled") -> "Undistort":
        """Read a `calib.txt` (`fx fy cx cy k1 k2 p1 p2 k3`); raise ValueError naming a faulty one."""
        matrix, distortion = read_calibration(file)
        fx, fy, cx, cy = (float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
        k1, k2, p1, p2, k3 = (float(value) for value in distortion)
        return cls((fx, fy, cx, cy), (k1, k2, p1, p2, k3), view)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The calibrated camera matrix (3, 3)."""
        fx, fy, cx, cy = self.camera
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def new_matrix(self, height: int, width: int) -> NDArray[np.float64]:
        """Return the camera matrix (3, 3) of the undistorted image of a sensor."""
        if self.view == "same":
            return self.matrix
        return filled_camera_matrix(self.matrix, np.array(self.distortion), height, width)

    def __call__(self, events: Events, rng: np.random.Generator | None = None) -> Events:
        """Return the events at their undistorted pixels; ValueError for a lens that cannot be inverted."""
        return _table(self, events.height, events.width)(events)

    def points(self, events: Events) -> NDArray[np.float64]:
        """Return the undistorted places (N, 2) of the events as x, y in fractions of a pixel, outside ones included."""
        if not len(events):
            return np.empty((0, 2))
        raw = np.stack([events.x, events.y], axis=-1).astype(np.float64)
        new_matrix = self.new_matrix(events.height, events.width)
        flat = cv2.undistortPoints(raw[:, None], self.matrix, np.array(self.distortion), P=new_matrix)
        return np.asarray(flat[:, 0], np.float64)


@lru_cache(maxsize=8)
def _table(undistort: Undistort, height: int, width: int) -> Rectification:
    new_matrix = undistort.new_matrix(height, width)
    return rectification(undistort.matrix, np.array(undistort.distortion), height, width, new_matrix)
