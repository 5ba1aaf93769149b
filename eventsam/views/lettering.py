"""Words on pictures: lines of text as uint8 images, in the typeface of the figures."""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eventsam.report.canvas import INK, MUTED

SIZE = 15
"""Height of the letters in pixels."""
LINE = 26
"""Height of a line in pixels."""
MARGIN = 2
"""Pixels before the first letter."""
GAP = 14
"""Pixels between the two parts of a line."""


def line_of_text(strong: str, faint: str, width: int) -> NDArray[np.uint8]:
    """Return a line as uint8 (LINE, width, 3) on white: `strong` in ink, then `faint` in grey; what is too long is cut.

    Raises ValueError for a width under one pixel.
    """
    if width < 1:
        raise ValueError(f"width is {width}, allowed: 1 or more pixels")
    image = Image.new("RGB", (width, LINE), "white")
    draw = ImageDraw.Draw(image)
    middle = LINE // 2
    draw.text((MARGIN, middle), strong, fill=INK, font=_font(), anchor="lm")
    start = MARGIN + round(_font().getlength(strong)) + (GAP if strong else 0)
    draw.text((start, middle), faint, fill=MUTED, font=_font(), anchor="lm")
    return np.asarray(image, np.uint8).copy()


@cache
def _font() -> ImageFont.FreeTypeFont:
    # The one that matplotlib brings along and draws figures with: no font of the machine's is needed.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), SIZE)
