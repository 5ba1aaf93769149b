"""Motion compensation: events moved along a flow to where they would be at one moment."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eventsam.event_transforms.flow import check_shapes, sample_flow
from eventsam.events import Events, trusted


@dataclass(frozen=True, eq=False)
class MotionCompensation:
    """Move each event back along the flow from its own time to `t_reference`: x' = x - flow(x) (t - t_reference) / d.

    `flow` (2, H, W) is the displacement u, v in pixels over `duration` us (d), taken to be steady. `t_reference` in us;
    None is the middle of the events' span. With the right flow the events of an edge fall onto one another, which
    `contrast` measures (Gallego et al., "A Unifying Contrast Maximization Framework", CVPR 2018).
    """

    flow: NDArray[np.float64]
    duration: int
    t_reference: int | None = None
    geometric: ClassVar[bool] = False
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse flows of another shape and durations that are not above 0."""
        check_shapes(self.flow)
        if not np.isfinite(self.flow).all():
            raise ValueError("flow holds values that are not finite")
        if not self.duration > 0:
            raise ValueError(f"duration is {self.duration}, allowed: above 0 us")

    def __call__(self, events: Events, rng: np.random.Generator | None = None) -> Events:
        """Return the events at the nearest pixels, times unchanged; those that leave the sensor are dropped."""
        self._check_size(events)
        places = np.rint(self.warp(event_points(events), events.t))
        inside = ((places >= 0) & (places < (events.width, events.height))).all(axis=1)
        x, y = places[inside].astype(np.uint16).T
        return trusted(x, y, events.t[inside], events.p[inside], events.height, events.width)

    def points(self, events: Events) -> NDArray[np.float64]:
        """Return the moved places (N, 2) as x, y in fractions of a pixel, those outside the sensor included."""
        self._check_size(events)
        return self.warp(event_points(events), events.t)

    def warp(self, points: NDArray[np.float64], t: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return places (N, 2) of events at times `t` us (N,) moved to the reference time, as x, y."""
        if not len(t):
            return points
        reference = (int(t[0]) + int(t[-1])) // 2 if self.t_reference is None else self.t_reference
        return points - sample_flow(self.flow, points) * ((t - reference) / self.duration)[:, None]

    def _check_size(self, events: Events) -> None:
        if self.flow.shape[1:] != (events.height, events.width):
            raise ValueError(
                f"events of {events.height}x{events.width} pixels, flow of {self.flow.shape[1]}x{self.flow.shape[2]}"
            )


def event_points(events: Events) -> NDArray[np.float64]:
    """Return the pixels of the events as points (N, 2): x, y."""
    return np.stack([events.x, events.y], axis=-1).astype(np.float64)
