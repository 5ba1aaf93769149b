"""The figures of results: blur ladder, closed gap, sample rows; each as PNG bytes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from eventsam.report.canvas import INK, MUTED, draw_panels
from eventsam.report.curves import data_wait, loss_curves
from eventsam.report.data import ReportData, ResultRow, SampleRow, Share
from eventsam.report.palette import BLURS, IMAGES, INPUTS, direction_of, in_order, look_of
from eventsam.report.summary import mean_over_seeds, percent
from eventsam.report.voxels import render_occupancy, trim_together

LADDER_METRICS = ("viou", "chamfer")
SHAPES = ("truth", *INPUTS)
LOWEST_SHARE, HIGHEST_SHARE = -1.0, 2.3
"""Shares beyond these run out of the picture, so that the others stay readable; their numbers are still written."""


def blur_ladder(rows: Sequence[ResultRow], metrics: Sequence[str] = LADDER_METRICS) -> bytes:
    """Draw each metric against blur: one line per input (mean over seeds), one 95 % interval per input and seed.

    Metrics without rows are left out; raises ValueError if none is left.
    """
    present = [metric for metric in metrics if any(row.metric == metric for row in rows)]
    if not present:
        raise ValueError(f"no rows of {', '.join(metrics)} (metrics at hand: {', '.join({r.metric for r in rows})})")

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        for axis, metric in zip(axes, present, strict=True):
            _ladder(axis, [row for row in rows if row.metric == metric])
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, handlelength=1.6, columnspacing=1.6)

    return draw_panels(len(present), len(present), (5.0, 3.5), draw)


def gap_bars(gap_closed: Mapping[str, Mapping[str, Share]]) -> bytes:
    """Draw the share of the sharp-blurry gap that each input closes, with its interval; undefined shares say so."""

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        _gap(axes[0], gap_closed)
        figure.legend(loc="outside right center", handlelength=1.0)

    return draw_panels(1, 1, (8.6, 3.0), draw)


def sample_row(sample: SampleRow) -> bytes:
    """Draw one sample: its pictures in the first row, the shapes from every input in the second."""
    images = in_order(sample.images, IMAGES)
    shapes = in_order(sample.occupancies, SHAPES)
    columns = max(len(images), len(shapes), 1)
    rendered = trim_together([render_occupancy(sample.occupancies[name], look_of(name).colour) for name in shapes])

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        for axis in axes:
            axis.set_axis_off()
        for axis, name in zip(axes, images, strict=False):
            axis.imshow(sample.images[name].transpose(1, 2, 0))
            axis.set_title(IMAGES.get(name, name), fontweight="normal")
        for axis, name, picture in zip(axes[columns:], shapes, rendered, strict=False):
            axis.imshow(picture)
            axis.set_title(look_of(name).label, fontweight="normal", color=look_of(name).colour)
        figure.suptitle(f"{sample.title}, {sample.blur} blur", x=0.01, ha="left", fontsize=11, fontweight="bold")

    return draw_panels(2 * columns, columns, (1.9, 2.0), draw)


def all_figures(report: ReportData) -> dict[str, bytes]:
    """Return every figure that the report has data for, by file stem: what is logged next to the metrics."""
    figures = {}
    if any(row.metric in LADDER_METRICS for row in report.rows):
        figures["blur_ladder"] = blur_ladder(report.rows)
    if report.gap_closed:
        figures["gap_closed"] = gap_bars(report.gap_closed)
    if report.losses:
        figures["loss_curves"] = loss_curves(report.losses)
        figures["data_wait"] = data_wait(report.losses)
    return figures | {f"sample_{number}": sample_row(sample) for number, sample in enumerate(report.samples)}


def _ladder(axis: Axes, rows: Sequence[ResultRow]) -> None:
    metric = rows[0].metric
    direction = direction_of(metric)
    blurs = in_order((row.blur for row in rows), BLURS)
    names = in_order((row.input for row in rows), INPUTS)
    seeds = tuple(dict.fromkeys(row.seed for row in rows))
    # Every interval gets its own place beside the level's tick: overlapping whiskers cannot be read.
    slots = np.linspace(-0.26, 0.26, len(names)) if len(names) > 1 else np.zeros(1)
    for name, slot in zip(names, slots, strict=True):
        look = look_of(name)
        places = np.arange(len(blurs)) + slot
        means = [mean_over_seeds(rows, name, blur, metric) for blur in blurs]
        axis.plot(places, means, color=look.colour, marker=look.marker, markersize=5.5, linewidth=1.7, label=look.label)
        for number, seed in enumerate(seeds):
            aside = 0.035 * (number - (len(seeds) - 1) / 2)
            own = [row for row in rows if row.input == name and row.seed == seed]
            at = [blurs.index(row.blur) + slot + aside for row in own]
            axis.vlines(at, [r.low for r in own], [r.high for r in own], color=look.colour, linewidth=1.3, alpha=0.65)
    axis.set_xticks(range(len(blurs)), blurs)
    axis.set_xlim(-0.45, len(blurs) - 0.55)
    axis.grid(axis="x", visible=False)
    for border in np.arange(len(blurs) - 1) + 0.5:
        axis.axvline(border, color="#E9EDF0", linewidth=0.8)
    axis.set_title(f"{direction.label}  ({'higher' if direction.higher_is_better else 'lower'} is better)")
    axis.set_xlabel("motion blur")


def _gap(axis: Axes, gap_closed: Mapping[str, Mapping[str, Share]]) -> None:
    names = in_order(gap_closed, INPUTS)
    blurs = in_order((blur for shares in gap_closed.values() for blur in shares), BLURS)
    width = 0.8 / max(1, len(names))
    for number, name in enumerate(names):
        look = look_of(name)
        axis.bar([0], [0], color=look.colour, label=look.label)
        for place, blur in enumerate(blurs):
            share = gap_closed[name].get(blur, Share(None, None, None))
            _bar(axis, place + (number - (len(names) - 1) / 2) * width, width * 0.86, share, look.colour)
    axis.axhline(0, color=INK, linewidth=0.9)
    axis.axhline(1, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, LOWEST_SHARE) - 0.16 * (low < 0), min(max(high, 1.14), HIGHEST_SHARE + 0.2))
    axis.set_xticks(range(len(blurs)), blurs)
    axis.set_xlim(-0.5, len(blurs) - 0.5)
    axis.grid(axis="x", visible=False)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.set_title("Share of the blurry-to-sharp gap that is closed (vIoU; dashed: sharp RGB)")


def _bar(axis: Axes, place: float, width: float, share: Share, colour: str) -> None:
    if share.share is None:
        axis.text(place, 0.03, "no gap", ha="center", va="bottom", rotation=90, fontsize=8, color=MUTED)
        return
    axis.bar(place, share.share, width=width, color=colour)
    low = high = share.share
    if share.low is not None and share.high is not None:
        axis.vlines(place, share.low, share.high, color=INK, linewidth=1.2)
        low, high = min(low, share.low), max(high, share.high)
    # The number stands at the bar's free end, or at the edge of the picture where the bar runs out of it.
    end, side = (high, "bottom") if share.share >= 0 else (low, "top")
    at = float(np.clip(end, LOWEST_SHARE, HIGHEST_SHARE)) + (0.02 if side == "bottom" else -0.02)
    axis.text(place, at, percent(share.share), ha="center", va=side, fontsize=8.5, color=INK)
