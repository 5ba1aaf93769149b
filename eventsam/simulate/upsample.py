"""More frames per second by optical flow, until no pixel moves further than a stated step between two of them.

Both frames are warped along a dense flow (DIS, Kroeger et al., ECCV 2016; Farneback where a frame is too small for it)
and cross-faded; the flow at the time between is approximated as in Super SloMo (Jiang et al., CVPR 2018, eq. 4).
This is plain flow warping: no network fills what is uncovered, thin structures that move further than their width and
moving shadows ghost. Where that matters, record faster or render.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Flow = NDArray[np.float32]

log = logging.getLogger(__name__)

SMALLEST_FOR_DIS = 64
"""Shorter side in pixels below which DIS has too few scales."""


@dataclass(frozen=True)
class Upsampling:
    """How fine the steps between frames become: the finer of both rules, at most `max_factor` steps per frame.

    `max_step_px`: the fastest pixel moves at most this far per step; 0 does not look at motion.
    `timestamp_resolution_s`: steps last at most this long; None does not ask.
    """

    max_step_px: float = 1.0
    timestamp_resolution_s: float | None = None
    max_factor: int = 256

    def __post_init__(self) -> None:
        """Refuse impossible steps."""
        if not 0 <= self.max_step_px < math.inf:
            raise ValueError(f"max_step_px is {self.max_step_px}, allowed: 0 (off) and above")
        if self.timestamp_resolution_s is not None and not 1e-6 <= self.timestamp_resolution_s < math.inf:
            raise ValueError(
                f"timestamp_resolution is {self.timestamp_resolution_s} s, allowed: 1e-6 (a microsecond) and above"
            )
        if self.max_factor < 1:
            raise ValueError(f"max_factor is {self.max_factor}, allowed: 1 and above")

    @property
    def is_off(self) -> bool:
        """Whether frames pass unchanged."""
        return self.max_step_px == 0 and self.timestamp_resolution_s is None

    def factor(self, largest_flow_px: float, step_s: float) -> int:
        """The number of steps for a pair of frames."""
        wanted = 1
        if self.max_step_px > 0:
            wanted = max(wanted, math.ceil(largest_flow_px / self.max_step_px))
        if self.timestamp_resolution_s is not None:
            # A frame rate such as 1000.0001 Hz must not double the frames.
            wanted = max(wanted, math.ceil(step_s / self.timestamp_resolution_s - 1e-6))
        return wanted


@dataclass
class Upsampler:
    """Upsamples one video and remembers the steps that it made per pair of frames; `num_capped` pairs got too few."""

    choice: Upsampling
    num_pairs: int = 0
    num_steps: int = 0
    least: int = 1
    most: int = 1
    num_capped: int = 0

    def __call__(self, frames: Iterable[tuple[float, NDArray[np.uint8]]]) -> Iterator[tuple[float, NDArray[Any]]]:
        """Yield (seconds, frame): the given frames and those between; float32, or uint8 where nothing is to be done."""
        if self.choice.is_off:
            yield from frames
            return
        previous: tuple[float, NDArray[np.uint8]] | None = None
        for seconds, grey in frames:
            if previous is not None:
                yield from self._between(*previous, seconds, grey)
            yield seconds, grey.astype(np.float32)
            previous = seconds, grey

    def summary(self) -> dict[str, float | int]:
        """Least, mean and largest number of steps per frame, and how many pairs were capped."""
        mean = self.num_steps / self.num_pairs if self.num_pairs else 1.0
        return {
            "min_factor": self.least,
            "mean_factor": round(mean, 3),
            "largest_factor": self.most,
            "num_capped": self.num_capped,
        }

    def _remember(self, factor: int) -> None:
        self.least = min(self.least, factor) if self.num_pairs else factor
        self.most = max(self.most, factor)
        self.num_pairs, self.num_steps = self.num_pairs + 1, self.num_steps + factor

    def _between(
        self, start_s: float, first: NDArray[np.uint8], end_s: float, last: NDArray[np.uint8]
    ) -> Iterator[tuple[float, Image]]:
        forward, backward = _flow(first, last), _flow(last, first)
        largest = max(float(np.hypot(*np.moveaxis(flow, 2, 0)).max()) for flow in (forward, backward))
        wanted = self.choice.factor(largest, end_s - start_s)
        factor = min(wanted, self.choice.max_factor)
        if wanted > factor:
            self.num_capped += 1
            if self.num_capped == 1:
                log.warning("%d steps from %.6f s are needed, %d are made (max_factor)", wanted, start_s, factor)
        self._remember(factor)
        images = first.astype(np.float32), last.astype(np.float32)
        for step in range(1, factor):
            share = step / factor
            yield start_s + share * (end_s - start_s), frame_between(*images, forward, backward, share)


def frame_between(first: Image, last: Image, forward: Flow, backward: Flow, share: float) -> Image:
    """The frame at `share` (0 to 1) of the way from `first` to `last` (H, W), given the flows (H, W, 2) in pixels."""
    to_first = -(1 - share) * share * forward + share**2 * backward
    to_last = (1 - share) ** 2 * forward - share * (1 - share) * backward
    mixed = (1 - share) * _warped(first, to_first) + share * _warped(last, to_last)
    between: Image = np.clip(mixed, 0, 255).astype(np.float32)
    return between


def _flow(first: NDArray[np.uint8], last: NDArray[np.uint8]) -> Flow:
    """Where each pixel of `first` lies in `last`, minus where it was: (H, W, 2) as (x, y)."""
    if np.array_equal(first, last):
        return np.zeros((*first.shape, 2), np.float32)
    flow: Flow
    if min(first.shape) >= SMALLEST_FOR_DIS:
        estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow = np.asarray(estimator.calc(first, last, np.empty(0, np.float32)), np.float32)
    else:
        empty = np.zeros((*first.shape, 2), np.float32)
        flow = cv2.calcOpticalFlowFarneback(first, last, empty, 0.5, 3, 15, 3, 5, 1.2, 0)
    return flow


def _warped(image: Image, flow: Flow) -> Image:
    """Look up `image` at every pixel moved by `flow`; past the border the nearest pixel counts."""
    height, width = image.shape
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    warped: Image = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warped
