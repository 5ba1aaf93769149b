"""Pictures laid out for people: enlarged to a readable size, named, side by side or in a strip."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from eventsam.report.canvas import FAINT, png
from eventsam.views.lettering import LINE, line_of_text
from eventsam.views.pictures import Picture
from eventsam.views.span import Span

SPACE = 12
"""White pixels around and between panels."""
BORDER = tuple(int(FAINT[place : place + 2], 16) for place in (1, 3, 5))
"""Colour of the line around a panel, which shows where a white image ends."""


@dataclass(frozen=True)
class Layout:
    """How large a panel is: small sensors are enlarged by a whole factor to at least `min_height` rows (never beyond
    `max_width` columns), and wider ones are shrunk to `max_width`.
    """

    min_height: int = 360
    max_width: int = 1280

    def __post_init__(self) -> None:
        """Refuse sizes under one pixel."""
        if min(self.min_height, self.max_width) < 1:
            raise ValueError(f"panels of {self.min_height} rows, {self.max_width} columns; allowed: 1 or more")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) in pixels at which an image of a sensor is shown."""
        if width > self.max_width:
            return max(1, round(height * self.max_width / width)), self.max_width
        factor = max(1, min(-(-self.min_height // height), self.max_width // width))
        return height * factor, width * factor


VIDEO = Layout()
STRIP = Layout(min_height=240, max_width=640)


def side_by_side(
    picture: Picture, span: Span, name: str, remark: str = "", layout: Layout = VIDEO
) -> NDArray[np.uint8]:
    """Return one picture as uint8 (h, w, 3): the represented events beside the camera frame, each with its heading.

    `name` heads the events and `remark` ends that line. Every picture of a recording has the same size, so that they
    make a video.
    """
    size = layout.size(*picture.events.shape[1:])
    heading = f"{_when(picture, span)}   {picture.num_events:,} events   {remark}".rstrip()
    panels = [_panel(picture.events, size, name, heading)]
    if picture.frame is not None:
        panels.append(_panel(picture.frame.rgb, size, "camera frame", f"at {_at(picture.frame.t_us, picture, span)} s"))
    return _row(panels)


def strip(pictures: Sequence[Picture], span: Span, name: str, remark: str = "", layout: Layout = STRIP) -> bytes:
    """Return pictures in a row as a PNG, their camera frames below them, `name` and `remark` above.

    Raises ValueError for no picture at all.
    """
    if not pictures:
        raise ValueError("a strip needs at least one picture")
    size = layout.size(*pictures[0].events.shape[1:])
    rows = [_row([_panel(p.events, size, _when(p, span), f"{p.num_events:,} events") for p in pictures])]
    frames = [picture.frame for picture in pictures]
    if any(frame is not None for frame in frames):
        below = [
            _blank(size) if frame is None else _panel(frame.rgb, size, f"{_at(frame.t_us, p, span)} s", "camera")
            for p, frame in zip(pictures, frames, strict=True)
        ]
        rows.append(_row(below)[SPACE:])
    title = line_of_text(name, remark, rows[0].shape[1] - 2 * SPACE)
    title = np.pad(title, ((SPACE, 0), (SPACE, SPACE), (0, 0)), constant_values=255)
    return png(np.ascontiguousarray(np.concatenate([title, *rows]).transpose(2, 0, 1)))


def _when(picture: Picture, span: Span) -> str:
    return f"{_at(picture.t0, picture, span)}\N{EN DASH}{_at(picture.t1, picture, span)} s"


def _at(t_us: int, picture: Picture, span: Span) -> str:
    """Return a time in seconds, with the digits that tell windows of this length apart."""
    length = picture.t1 - picture.t0
    return f"{span.seconds(t_us):.{3 if length >= 10_000 else 4 if length >= 1_000 else 6}f}"


def _panel(image: NDArray[np.uint8], size: tuple[int, int], strong: str, faint: str) -> NDArray[np.uint8]:
    """Return an image (3, H, W) under its heading, as uint8 (LINE + h, w, 3)."""
    shown = _fitted(image, size)
    shown[[0, -1]] = shown[:, [0, -1]] = BORDER
    return np.concatenate([line_of_text(strong, faint, size[1]), shown])


def _blank(size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.full((LINE + size[0], size[1], 3), 255, np.uint8)


def _fitted(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image (3, H, W) as large as fits into a size, as uint8 (h, w, 3), white around it."""
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
    factor = min(size[0] / pixels.shape[0], size[1] / pixels.shape[1])
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    # Enlarged pixels stay squares, so that single events can be told; only shrinking averages.
    way = cv2.INTER_NEAREST if factor >= 1 else cv2.INTER_AREA
    fitted = np.full((*size, 3), 255, np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    fitted[top : top + height, left : left + width] = cv2.resize(pixels, (width, height), interpolation=way)
    return fitted


def _row(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    padded = [np.pad(panel, ((SPACE, SPACE), (SPACE, 0), (0, 0)), constant_values=255) for panel in panels]
    edge = np.full((padded[0].shape[0], SPACE, 3), 255, np.uint8)
    return np.concatenate([*padded, edge], axis=1)
