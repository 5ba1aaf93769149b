"""A synthetic event stream of a moving texture with a foreground disc: what benchmarks draw, count and store."""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.events import Events

STEP_US = 1000
THRESHOLD, MISMATCH = 0.2, 0.03
"""Log-intensity contrast of an event, and its spread over the pixels."""
NOISE_HZ = 0.5
"""Noise events per pixel and second."""
BACKGROUND, FOREGROUND = (90.0, 210.0), (-160.0, 260.0)
"""Velocities in pixels per second, rows and columns."""


def texture_stream(num_events: int, height: int, width: int, seed: int = 0) -> Events:
    """Return the first `num_events` events of the scene, sorted by (t, y, x), at 1 us.

    An ideal sensor with threshold mismatch and noise events watches log intensities of natural spectrum slide by: about
    3 million events per second at 346x260, 15 million at 1280x720. Events lie along edges, as a camera's do, so caches
    and branches behave as they would on recordings.
    """
    random = np.random.default_rng(seed)
    back, front = (_texture(random, height, width) for _ in range(2))
    thresholds = np.maximum(random.normal(THRESHOLD, MISMATCH, (height, width)), 0.05).astype(np.float32)
    memory = np.full((height, width), np.nan, np.float32)
    room = 64 * height * width
    step = [np.empty(room, dtype) for dtype in (np.uint16, np.uint16, np.int64, np.uint8)]
    parts: list[list[NDArray[np.generic]]] = []
    total = 0
    for k in range(1_000_000):
        time = k * STEP_US
        count = _watch(back, front, thresholds, memory, k * STEP_US * 1e-6, time, *step)
        noise = random.poisson(NOISE_HZ * STEP_US * 1e-6 * height * width)
        x = np.concatenate([step[0][:count], random.integers(0, width, noise, np.uint16)])
        y = np.concatenate([step[1][:count], random.integers(0, height, noise, np.uint16)])
        t = np.concatenate([step[2][:count], time + random.integers(0, STEP_US, noise)])
        p = np.concatenate([step[3][:count], random.integers(0, 2, noise, np.uint8)])
        order = np.lexsort((x, y, t))
        parts.append([column[order] for column in (x, y, t, p)])
        total += len(x)
        if total >= num_events:
            break
    columns = [np.concatenate([part[i] for part in parts])[:num_events] for i in range(4)]
    return Events(*columns, height=height, width=width)


def _texture(random: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    # Periodic, so that it can slide for ever; amplitudes fall as f^-1.5, phases are random.
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.normal(size=(height, width))) / frequency**1.5
    image = np.fft.irfft2(spectrum, (height, width))
    return (image / image.std() * 0.5).astype(np.float32)


@compiled
def _watch(
    back: NDArray[np.float32],
    front: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    memory: NDArray[np.float32],
    seconds: float,
    time: int,
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> int:
    height, width = memory.shape
    radius = 0.25 * height
    centre_y = (0.5 * height + FOREGROUND[0] * seconds) % height
    centre_x = (0.5 * width + FOREGROUND[1] * seconds) % width
    count = 0
    for row in range(height):
        for column in range(width):
            inside = (row - centre_y) ** 2 + (column - centre_x) ** 2 < radius * radius
            speed = FOREGROUND if inside else BACKGROUND
            level = _sample(front if inside else back, row - speed[0] * seconds, column - speed[1] * seconds)
            if np.isnan(memory[row, column]):
                memory[row, column] = level
            change = level - memory[row, column]
            number = int(abs(change) / thresholds[row, column])
            for i in range(number):
                # Crossings spread evenly over the step's change.
                crossing = (i + 1) * thresholds[row, column] / abs(change)
                x[count], y[count], p[count] = column, row, change > 0
                t[count] = time + int(crossing * (STEP_US - 1))
                count += 1
            memory[row, column] += number * thresholds[row, column] * (1.0 if change > 0 else -1.0)
    return count


@compiled
def _sample(image: NDArray[np.float32], row: float, column: float) -> float:
    height, width = image.shape
    top, left = int(np.floor(row)), int(np.floor(column))
    a, b = row - top, column - left
    y0, y1, x0, x1 = top % height, (top + 1) % height, left % width, (left + 1) % width
    upper = image[y0, x0] * (1.0 - b) + image[y0, x1] * b
    lower = image[y1, x0] * (1.0 - b) + image[y1, x1] * b
    return upper * (1.0 - a) + lower * a
