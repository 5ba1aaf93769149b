"""Shape metrics on one core: solid 64^3 grids and 30 000 surface points per object against the goal of 50 ms.

    OMP_NUM_THREADS=1 python -m benchmarks.metrics_speed

Objects are a ball, a torus and a box with a cavity; the prediction is the truth moved by a cell with one side cut off.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from eventsam.metrics.nearest import PointIndex
from eventsam.metrics.point_cloud import occupancy_scores
from eventsam.metrics.shape import ShapeProtocol
from eventsam.metrics.solid import solid_iou
from eventsam.metrics.surface import sample_grid

RESOLUTION = 64
NUM_POINTS = 30_000
GOAL_MS = 50.0


def shapes() -> dict[str, NDArray[np.bool_]]:
    """Return true grids by name."""
    axis = (np.arange(RESOLUTION) + 0.5) / RESOLUTION - 0.5
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    box = np.maximum(np.maximum(abs(x), abs(y)), abs(z))
    return {
        "ball": x**2 + y**2 + z**2 < 0.4**2,
        "torus": (np.hypot(x, y) - 0.3) ** 2 + z**2 < 0.12**2,
        "hollow box": (box < 0.35) & (box > 0.2),
    }


def predicted(truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the truth moved by a cell, its top cut off."""
    moved = np.roll(truth, 1, axis=0)
    moved[:, :, 3 * RESOLUTION // 4 :] = False
    return moved


def cpu_ms(run: Callable[[], object], rounds: int = 9) -> float:
    """Return the median processor time of a call in milliseconds: what other programs take does not count."""
    run()
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        taken.append(1e3 * (time.process_time() - started))
    return statistics.median(taken)


def main() -> int:
    """Print milliseconds per object; return 1 where the goal is missed."""
    protocol, met = ShapeProtocol(num_points=NUM_POINTS), True
    for name, truth in shapes().items():
        ours = predicted(truth)
        first, second = (sample_grid(grid, NUM_POINTS).points for grid in (ours, truth))
        parts = {
            "all metrics": lambda a=ours, b=truth: protocol.scores(a, b),
            "solid vIoU": lambda a=ours, b=truth: solid_iou(a, b),
            "sampling one surface": lambda b=truth: sample_grid(b, NUM_POINTS),
            "nearest, one way": lambda a=first, b=second: PointIndex(b).nearest(a),
            "nearest, one way, k-d tree": lambda a=first, b=second: cKDTree(b).query(a),
            "face centres, both ways": lambda a=ours, b=truth: occupancy_scores(a, b),
        }
        for part, run in parts.items():
            taken = cpu_ms(run)
            missed = part == "all metrics" and taken > GOAL_MS
            print(f"{name + ': ' + part:50} {taken:8.2f} ms{'   MISSED' if missed else ''}", flush=True)
            met &= not missed
    icp = ShapeProtocol(("none", "centroid_scale", "icp"), num_points=NUM_POINTS)
    truth = shapes()["torus"]
    taken = cpu_ms(lambda: icp.scores(predicted(truth), truth))
    print(f"{'torus: all metrics, three alignments':50} {taken:8.2f} ms")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
