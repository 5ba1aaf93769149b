"""Lens distortion taken out of event coordinates, to match frames that were rectified."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events

GRID = 9
"""Points per side at which OpenCV samples the image's border to find the rectified camera."""
MAX_ERROR = 0.5
"""Pixels by which undistorting and distorting again may differ."""


@dataclass(frozen=True, eq=False)
class Rectification:
    """Where each raw pixel lands in the rectified image: `target` int64 (H, W), y * W + x, or -1 outside it."""

    target: NDArray[np.int64]

    def __call__(self, events: Events) -> Events:
        """Return the events at the nearest rectified pixels; those that land outside the image are dropped."""
        height, width = self.target.shape
        if (events.height, events.width) != (height, width):
            raise ValueError(f"events of {events.height}x{events.width} pixels, rectification for {height}x{width}")
        pixel = self.target[events.y, events.x]
        inside = pixel >= 0
        y, x = np.divmod(pixel[inside], width)
        return Events.from_arrays(x, y, events.t[inside], events.p[inside], height=height, width=width)


def rectification(
    matrix: NDArray[np.float64],
    distortion: NDArray[np.float64],
    height: int,
    width: int,
    new_matrix: NDArray[np.float64] | None = None,
) -> Rectification:
    """Tabulate the rectification of every pixel for a camera matrix (3, 3) and distortion k1 k2 p1 p2 k3.

    `new_matrix` is the camera of the rectified image; None is the one that fills it (`filled_camera_matrix`).
    """
    if new_matrix is None:
        new_matrix = filled_camera_matrix(matrix, distortion, height, width)
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    raw = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    rectified = np.rint(cv2.undistortPoints(raw, matrix, distortion, P=new_matrix)[:, 0])
    inside = ((rectified >= 0) & (rectified < (width, height))).all(axis=1)
    target = np.where(inside, rectified[:, 1] * width + rectified[:, 0], -1.0)
    return Rectification(target.astype(np.int64).reshape(height, width))


def filled_camera_matrix(
    matrix: NDArray[np.float64], distortion: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float64]:
    """Return the camera matrix (3, 3) whose rectified image is the largest without empty pixels.

    This is `getOptimalNewCameraMatrix(alpha=0)` as OpenCV 3 and 4 compute it, with the border sampled at 0..width and
    0..height (OpenCV 5 samples it at 0..width - 1, which moves the corners by about 1 px). Published rectified frames
    were made with the older one, so it is written out here instead of depending on the installed version. Raises
    ValueError for a lens model that cannot be inverted over the image.
    """
    x, y = np.meshgrid(np.linspace(0, width, GRID), np.linspace(0, height, GRID))
    raw = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    border = cv2.undistortPoints(raw, matrix, distortion)
    # OpenCV hands points back unchanged where its inversion diverges; distorting them again tells.
    rays = np.concatenate([border[:, 0], np.ones((len(border), 1))], axis=1)
    again = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), matrix, distortion)[0]
    error = np.abs(again - raw).max()
    if not error < MAX_ERROR:
        raise ValueError(f"distortion {distortion.tolist()} cannot be inverted over the image ({error:.1f} px off)")
    plane = border.reshape(GRID, GRID, 2)
    left, right = plane[:, 0, 0].max(), plane[:, -1, 0].min()
    top, bottom = plane[0, :, 1].max(), plane[-1, :, 1].min()
    if not (right > left and bottom > top):
        raise ValueError(f"distortion {distortion.tolist()} leaves no rectified image without empty pixels")
    fx, fy = (width - 1) / (right - left), (height - 1) / (bottom - top)
    return np.array([[fx, 0, -fx * left], [0, fy, -fy * top], [0, 0, 1]])
