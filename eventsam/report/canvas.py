"""Where figures are drawn: matplotlib's Agg canvas without global state, and arrays as PNG bytes."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

DPI = 160
INK = "#1F2933"
FAINT = "#D9DFE5"
MUTED = "#62707D"

_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E9EDF0",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": INK,
    "legend.frameon": False,
    # names of stages and metrics are words, never formulas
    "text.parse_math": False,
    "lines.solid_capstyle": "round",
}

Draw = Callable[[Figure, Sequence[Axes]], None]


def draw_panels(num_panels: int, columns: int, panel_inches: tuple[float, float], draw: Draw) -> bytes:
    """Lay out `num_panels` axes in rows of `columns`, let `draw` fill them, and return the PNG.

    `panel_inches` is (width, height) of one panel.
    """
    columns = max(1, min(columns, num_panels))
    num_rows = -(-num_panels // columns)
    # The style holds for this figure alone: a caller's own matplotlib settings neither leak in nor change.
    with rc_context(_STYLE):
        figure = Figure(figsize=(columns * panel_inches[0], num_rows * panel_inches[1]), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots(num_rows, columns, squeeze=False).ravel()
        for unused in axes[num_panels:]:
            unused.set_axis_off()
        draw(figure, list(axes[:num_panels]))
        buffer = io.BytesIO()
        canvas.print_png(buffer)
    return buffer.getvalue()


def png(image: NDArray[np.uint8]) -> bytes:
    """Return the PNG of a uint8 image: channels first (3, H, W), or last as RGBA (H, W, 4)."""
    pixels: NDArray[Any] = image if image.shape[-1] == 4 and image.shape[0] != 3 else image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
