"""The figures of training: loss curves, every logged number, and how long stages waited for data."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from eventsam.report.canvas import FAINT, MUTED, draw_panels
from eventsam.report.data import LossRecord
from eventsam.report.palette import CURVE, WARNING

WAIT_LIMIT = 0.10
"""The share of its time that a stage may spend waiting for data."""

_NOT_CURVES = ("step", "samples", "time", "data_wait_s", "step_s")


def loss_curves(losses: Mapping[str, Sequence[LossRecord]]) -> bytes:
    """Draw one panel per stage: the logged loss, its running mean, and the validation loss (`val/loss`) if logged."""

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        for axis, (stage, records) in zip(axes, losses.items(), strict=True):
            _curves(axis, records, "loss")
            axis.set_title(stage)

    return draw_panels(len(losses), 3, (3.4, 2.6), draw)


def logged_numbers(records: Sequence[LossRecord]) -> bytes:
    """Draw a small panel for every number in the records; `val/name` shares a panel with `name`."""
    names = curve_names(records)

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        for axis, name in zip(axes, names, strict=True):
            _curves(axis, records, name)
            axis.set_title(name, fontsize=9)

    return draw_panels(len(names), 4, (2.7, 2.0), draw)


def curve_names(records: Sequence[LossRecord]) -> tuple[str, ...]:
    """Return the numbers worth a curve, in order of appearance, `val/` dropped; bests and clocks are left out."""
    names = (name.removeprefix("val/") for record in records for name in record)
    return tuple(dict.fromkeys(name for name in names if name not in _NOT_CURVES and not name.startswith("best/")))


def data_wait(losses: Mapping[str, Sequence[LossRecord]]) -> bytes:
    """Draw, per stage, the share of its time spent waiting for data, beside the limit of 10 %."""
    shares = {stage: data_wait_share(records) for stage, records in losses.items()}

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        _wait(axes[0], shares)

    return draw_panels(1, 1, (6.4, 0.9 + 0.36 * len(shares)), draw)


def data_wait_share(records: Sequence[LossRecord]) -> float | None:
    """Return waiting time over all time of the logged steps, None where nothing was timed.

    `data_wait_s` and `step_s` are means per step since the record before; `step_s` does not include the wait.
    """
    waited = worked = last_step = 0.0
    for record in records:
        if "data_wait_s" in record and "step_s" in record:
            num_steps = record["step"] - last_step
            waited += record["data_wait_s"] * num_steps
            worked += record["step_s"] * num_steps
            last_step = record["step"]
    return waited / (waited + worked) if waited + worked > 0 else None


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the mean over up to `width` values around each one, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - width // 2, 0)
    last = np.minimum(np.arange(len(values)) + width // 2 + 1, len(values))
    means: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return means


def _curves(axis: Axes, records: Sequence[LossRecord], name: str) -> None:
    steps, values = _series(records, name)
    width = max(1, len(values) // 15)
    axis.plot(steps, values, color=CURVE, alpha=0.3 if width > 1 else 1.0, linewidth=1.0 if width > 1 else 1.7)
    if width > 1:
        axis.plot(steps, running_mean(values, width), color=CURVE, linewidth=1.8)
    checked, checks = _series(records, f"val/{name}")
    if len(checks) > 0:
        axis.plot(checked, checks, color="#B08900", marker="o", markersize=3, linewidth=1.2, label="validation")
        axis.legend(loc="best", fontsize=8)
    shown = np.concatenate([values, checks])
    if len(shown) == 0:
        axis.text(0.5, 0.5, "nothing logged", transform=axis.transAxes, ha="center", color=MUTED)
    elif shown.min() > 0 and shown.max() > 30 * shown.min():
        axis.set_yscale("log")
    axis.set_xlabel("step")


def _series(records: Sequence[LossRecord], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps and values of the records that hold a finite number of that name."""
    pairs = [(record["step"], record[name]) for record in records if math.isfinite(record.get(name, math.nan))]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _wait(axis: Axes, shares: Mapping[str, float | None]) -> None:
    stages = list(shares)[::-1]
    known = [shares[stage] or 0.0 for stage in stages]
    colours = [CURVE if share <= WAIT_LIMIT else WARNING for share in known]
    axis.barh(stages, known, color=colours, height=0.62)
    for place, stage in enumerate(stages):
        share = shares[stage]
        text = "not timed" if share is None else f"{100 * share:.1f} %"
        axis.text(known[place] + 0.002, place, f" {text}", va="center", fontsize=8.5)
    axis.axvline(WAIT_LIMIT, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axis.text(WAIT_LIMIT, len(stages) - 0.45, " limit", fontsize=8, color=MUTED, va="bottom")
    axis.set_xlim(0, max(0.14, 1.2 * max(known, default=0.0)))
    axis.set_ylim(-0.6, len(stages) - 0.1)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_color(FAINT)
    axis.set_title("Time spent waiting for data")
