"""Contrast: how sharply events, or events moved along a flow, draw the edges they come from."""

import numpy as np
from numpy.typing import NDArray

from eventsam.event_transforms.flow import check_shapes


def image_of_points(
    points: NDArray[np.float64], height: int, width: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the image (H, W) of points (N, 2): each shares its weight (1) bilinearly among the four pixels around it.

    Points are x, y in pixels; shares that fall outside the image are lost. For the image of warped events, weights are
    1 (edges) or the polarities' signs. Raises ValueError for points of another shape.
    """
    check_shapes(np.empty((2, 1, 1)), points)
    near_left, near_top = np.floor(points[:, 0]), np.floor(points[:, 1])
    dx, dy = points[:, 0] - near_left, points[:, 1] - near_top
    image = np.zeros(height * width)
    for down in (0, 1):
        for right in (0, 1):
            x, y = near_left + right, near_top + down
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            share = (dx if right else 1 - dx) * (dy if down else 1 - dy)
            if weights is not None:
                share = share * weights
            pixel = (y[inside] * width + x[inside]).astype(np.int64)
            image += np.bincount(pixel, share[inside], minlength=height * width)
    return image.reshape(height, width)


def image_variance(image: NDArray[np.float64]) -> float:
    """Return the population variance over the pixels of an (H, W) image (Gallego et al., CVPR 2018, equation 4)."""
    return float(np.var(image))


def gradient_magnitude(image: NDArray[np.float64]) -> float:
    """Return the mean over the pixels of an (H, W) image of its squared gradient, by central differences.

    Gallego et al., "Focus Is All You Need", CVPR 2019 ("gradient magnitude"). Raises ValueError for an image
    of under two pixels a side.
    """
    if min(image.shape) < 2:
        raise ValueError(f"image is {image.shape[0]} x {image.shape[1]}, a gradient needs 2 x 2 pixels or more")
    along_y, along_x = np.gradient(image)
    return float(np.mean(along_x**2 + along_y**2))
