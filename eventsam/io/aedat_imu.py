"""Inertial samples in the units that iniVation's formats have, as SI units."""

import numpy as np
from numpy.typing import NDArray

from eventsam.io.recording import Imu

GRAVITY = 9.80665
"""Metres per second squared in a g, the unit of the accelerometer."""


def imu_from_g_and_degrees(t: NDArray[np.int64], values: NDArray[np.float32]) -> Imu:
    """Return samples at `t` us (N,) from accelerations in g and rates in degrees per second, together (N, 6)."""
    # A damaged file may have any float: what float32 cannot hold becomes infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        wide = values.astype(np.float64)
        return Imu(t, (wide[:, :3] * GRAVITY).astype(np.float32), np.deg2rad(wide[:, 3:]).astype(np.float32))
