"""Optical flow of the whole image: of a camera that only turns, and sampled between pixels."""

import numpy as np
from numpy.typing import NDArray


def rotational_flow(
    matrix: NDArray[np.float64], angular_velocity: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float64]:
    """Return the flow (2, H, W), u then v in pixels per second, of a camera turning at (wx, wy, wz) rad/s.

    With X = (x - cx) / fx and Y = (y - cy) / fy: u = fx (X Y wx - (1 + X^2) wy + Y wz) and
    v = fy ((1 + Y^2) wx - X Y wy - X wz); depth plays no part (Longuet-Higgins & Prazdny, 1980).
    """
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    wx, wy, wz = angular_velocity
    x, y = np.meshgrid((np.arange(width) - cx) / fx, (np.arange(height) - cy) / fy)
    u = fx * (x * y * wx - (1 + x * x) * wy + y * wz)
    v = fy * ((1 + y * y) * wx - x * y * wy - x * wz)
    return np.stack([u, v])


def sample_flow(flow: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the flow (N, 2) at places (N, 2) given as x, y: bilinear, and that of the border beyond it.

    Raises ValueError where the shapes are not (2, H, W) and (N, 2).
    """
    check_shapes(flow, points)
    height, width = flow.shape[1:]
    x = np.clip(points[:, 0], 0, width - 1)
    y = np.clip(points[:, 1], 0, height - 1)
    # The last column and row have no neighbour beyond them, and need none: their share there is 0.
    left, top = np.minimum(x.astype(np.int64), max(width - 2, 0)), np.minimum(y.astype(np.int64), max(height - 2, 0))
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    dx, dy = x - left, y - top
    upper = flow[:, top, left] * (1 - dx) + flow[:, top, right] * dx
    lower = flow[:, bottom, left] * (1 - dx) + flow[:, bottom, right] * dx
    return np.asarray((upper * (1 - dy) + lower * dy).T)


def check_shapes(flow: NDArray[np.float64], points: NDArray[np.float64] | None = None) -> None:
    """Raise ValueError unless the flow is (2, H, W) and the points, where given, are (N, 2)."""
    if flow.ndim != 3 or flow.shape[0] != 2 or not flow.size:
        raise ValueError(f"flow has shape {flow.shape}, expected (2, H, W): u and v in pixels")
    if points is not None and (points.ndim != 2 or points.shape[1] != 2):
        raise ValueError(f"points have shape {points.shape}, expected (N, 2): x and y in pixels")
