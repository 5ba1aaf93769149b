"""The figures of a sweep: parallel coordinates, importance, learning curves, cost; each as PNG bytes."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Line
from matplotlib.ticker import FuncFormatter, PercentFormatter

from eventsam.report.canvas import INK, MUTED, draw_panels
from eventsam.report.palette import CURVE, WARNING, direction_of
from eventsam.report.sweep import Axis, SweepReport, TrialRow
from eventsam.report.sweep_importance import Importance

SCALE = LinearSegmentedColormap.from_list("score", ["#CFD8E0", "#8FA9C2", "#2F5D8C"])
"""Colours of scores, worst to best: pale to strong, so that the better lines stand out and lie on top."""
WINNER = "#D55E00"
BELOW = -0.1
"""Where a line passes an axis that does not matter to it, or ends without a score."""
NUM_NAMED = 5
"""How many of the best trials are written by name."""


def all_figures(report: SweepReport, shares: Sequence[Importance]) -> dict[str, bytes]:
    """Return every figure that the report has data for, by file stem."""
    figures = {}
    if report.winner is not None:
        figures["parallel_coordinates"] = parallel_coordinates(report)
        figures["learning_curves"] = learning_curves(report)
    if shares:
        figures["importance"] = importance_bars(shares)
    if any(trial.seconds for trial in report.trials):
        figures["cost"] = cost_bars(report)
    return figures


def parallel_coordinates(report: SweepReport) -> bytes:
    """Draw one line per trial through its value of every parameter to its score.

    A parameter that does not matter at a point is passed below the axis. Stopped trials are thin; failed ones end at
    a cross.
    """

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        _parallel(axes[0], report)

    width = max(8.6, 1.75 * (len(report.axes) + 1))
    return draw_panels(1, 1, (min(width, 13.0), 4.4), draw)


def learning_curves(report: SweepReport) -> bytes:
    """Draw each trial's score against samples; dots where it was stopped, the best trials named."""

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        _learning(axes[0], report)

    return draw_panels(1, 1, (8.6, 3.9), draw)


def importance_bars(shares: Sequence[Importance]) -> bytes:
    """Draw each parameter's share of the spread of scores, beside what chance would give."""

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        _importance(axes[0], shares)

    return draw_panels(1, 1, (8.6, 1.1 + 0.42 * len(shares)), draw)


def cost_bars(report: SweepReport) -> bytes:
    """Draw each trial's seconds: in training steps, waiting for data, and the rest (start, validation, checkpoints)."""

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        _cost(axes[0], report)

    return draw_panels(1, 1, (8.6, 1.3 + 0.27 * len(report.trials)), draw)


def _parallel(axis: Axes, report: SweepReport) -> None:
    columns = len(report.axes) + 1
    low, high = _bounds(report)
    drawn = _best_last(report)
    places = [_places(parameter, drawn) for parameter in report.axes]
    for number, trial in enumerate(drawn):
        score = trial.score if trial.scored else None
        heights = [*(column[number] for column in places), BELOW if score is None else _share(score, low, high)]
        axis.add_patch(_line(report, trial, heights))
        if score is None:
            axis.plot([columns - 1], [BELOW], marker="x", color=WARNING, markersize=6, clip_on=False)
    for column, parameter in enumerate(report.axes):
        _axis(axis, column, _short(parameter.name), _ticks(parameter), above=bool(parameter.labels))
    scores = [(_share(value, low, high), f"{value:.3g}") for value in np.linspace(low, high, 5)]
    _axis(axis, columns - 1, direction_of(report.metric).label, scores, above=False)
    for column, heights in enumerate(places):
        if BELOW in heights:
            axis.text(column, BELOW - 0.03, "does not matter", ha="center", va="top", fontsize=7.5, color=MUTED)
    axis.set_xlim(-0.25, columns - 0.6)
    axis.set_ylim(-0.2, 1.06)
    axis.set_axis_off()


def _places(parameter: Axis, drawn: Sequence[TrialRow]) -> list[float]:
    """Return where each trial crosses an axis; those of one label fan out within its band, the best on top."""
    found = [
        parameter.place(trial.values[parameter.name]) if parameter.name in trial.values else BELOW for trial in drawn
    ]
    if not parameter.labels:
        return found
    band = min(0.5 / len(parameter.labels), 0.2)
    for place in set(found) - {BELOW}:
        members = [number for number, height in enumerate(found) if height == place]
        for height, number in zip(np.linspace(-band / 2, band / 2, len(members) + 2)[1:-1], members, strict=True):
            found[number] = place + float(height)
    return found


def _line(report: SweepReport, trial: TrialRow, heights: Sequence[float]) -> PathPatch:
    whole, won = trial.status == "finished", trial is report.winner
    width, strength = (2.6 if won else 1.5, 0.95) if whole else (0.9, 0.8)
    style = (0, (2, 2)) if trial.status == "failed" else "solid"
    return PathPatch(_smooth(heights), fill=False, edgecolor=_colour(report, trial), linewidth=width, alpha=strength,
                     linestyle=style, capstyle="round", zorder=3 if won else 2)  # fmt: skip


def _axis(axis: Axes, column: int, name: str, ticks: Sequence[tuple[float, str]], *, above: bool) -> None:
    """Draw one upright axis: labels of choices above their band of lines, numbers beside their place."""
    axis.plot([column, column], [-0.02, 1.02], color=INK, linewidth=0.8, zorder=4)
    axis.text(column, 1.08, name, ha="center", va="bottom", fontsize=9, fontweight="bold")
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
    lift = min(0.25 / max(1, len(ticks)), 0.1) if above else 0.0
    for height, text in ticks:
        if not above:
            axis.plot([column - 0.02, column + 0.02], [height, height], color=INK, linewidth=0.8, zorder=4)
        axis.text(column + 0.04, height + lift, text, ha="left", va="bottom" if above else "center", fontsize=8,
                  color=INK, bbox=box, zorder=5)  # fmt: skip


def _learning(axis: Axes, report: SweepReport) -> None:
    for rung in report.rungs:
        axis.axvline(rung, color="#AEB8C1", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
    for trial in _best_last(report):
        if not trial.curve or trial.status == "failed":
            continue
        samples, scores = zip(*trial.curve, strict=True)
        colour, whole = _colour(report, trial), trial.status == "finished"
        axis.plot(samples, scores, color=colour, linewidth=2.0 if whole else 1.1, alpha=0.95 if whole else 0.8)
        axis.plot(samples[-1], scores[-1], marker="o" if whole else "s", markersize=4.5 if whole else 3.5, color=colour)
        if trial is report.winner and trial.low is not None and trial.high is not None:
            axis.vlines(samples[-1], trial.low, trial.high, color=colour, linewidth=1.6)
    _name_the_best(axis, report)
    axis.set_xlim(0, report.budget * 1.09)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " ")))
    axis.set_xlabel("samples seen")
    direction = "higher" if report.mode == "max" else "lower"
    axis.set_title(f"{direction_of(report.metric).label} on the validation samples ({direction} is better)")


def _name_the_best(axis: Axes, report: SweepReport) -> None:
    """Write the names of the best whole trials beside their ends, pushed apart where they would overlap."""
    named = [trial for trial in report.ranked if trial.status == "finished" and trial.curve][:NUM_NAMED]
    low, high = axis.get_ylim()
    step, place = 0.055 * (high - low), high
    for trial in sorted(named, key=lambda trial: -trial.curve[-1][1]):
        samples, score = trial.curve[-1]
        place = min(score, place - step)
        won = trial is report.winner
        axis.text(samples + 0.014 * report.budget, place, trial.name, fontsize=8, va="center",
                  color=WINNER if won else INK, fontweight="bold" if won else "normal")  # fmt: skip


def _importance(axis: Axes, shares: Sequence[Importance]) -> None:
    shown = list(shares)[::-1]
    places = np.arange(len(shown))
    colours = [CURVE if item.told_apart else "#B8C4CE" for item in shown]
    axis.barh(places, [item.share for item in shown], color=colours, height=0.6)
    for place, item in zip(places, shown, strict=True):
        axis.vlines(item.chance, place - 0.38, place + 0.38, color=WARNING, linewidth=1.6)
        words = f" {100 * item.share:.0f} %" + ("" if item.told_apart else ", not told apart from chance")
        axis.text(max(item.share, item.chance) + 0.006, float(place), words, va="center", fontsize=8.5)
    axis.set_yticks(places, [item.name for item in shown])
    axis.tick_params(axis="y", labelcolor=INK)
    axis.set_xlim(0, 1.0)
    axis.set_ylim(-0.6, len(shown) - 0.4)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.grid(axis="y", visible=False)
    axis.set_title("Share of the spread of scores that a parameter explains (red: what chance gives)")


def _cost(axis: Axes, report: SweepReport) -> None:
    trials = list(report.trials)[::-1]
    places = np.arange(len(trials))
    train = np.array([trial.train_s for trial in trials])
    wait = np.array([trial.data_wait_s for trial in trials])
    rest = np.maximum(0.0, np.array([trial.seconds for trial in trials]) - train - wait)
    axis.barh(places, train, color=CURVE, height=0.66, label="training steps")
    axis.barh(places, wait, left=train, color="#E0A458", height=0.66, label="waiting for data")
    axis.barh(places, rest, left=train + wait, color="#C9D3DC", height=0.66, label="start, validation, checkpoints")
    for place, trial, total in zip(places, trials, train + wait + rest, strict=True):
        mark = {"failed": "failed", "stopped": "stopped"}.get(trial.status, "")
        axis.text(total, float(place), f"  {total:.0f} s {mark}", va="center", fontsize=8, color=MUTED)
    axis.set_yticks(places, [trial.name for trial in trials], fontsize=8)
    axis.set_ylim(-0.7, len(trials) - 0.3)
    axis.margins(x=0.12)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("seconds")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8.5, handlelength=1.0)


def _best_last(report: SweepReport) -> list[TrialRow]:
    """Return the trials with the best ones last, so that they are drawn on top."""
    ranked = report.ranked
    return [trial for trial in report.trials if not trial.scored] + ranked[::-1]


def _colour(report: SweepReport, trial: TrialRow) -> tuple[float, float, float, float] | str:
    """Return the trial's colour by its rank; the winner is orange, a failed one red."""
    if not trial.scored:
        return WARNING
    ranked = report.ranked
    return WINNER if trial is ranked[0] else SCALE(1.0 - ranked.index(trial) / max(1, len(ranked) - 1))


def _bounds(report: SweepReport) -> tuple[float, float]:
    scores = [trial.score for trial in report.trials if trial.scored and trial.score is not None]
    low, high = min(scores), max(scores)
    margin = 0.04 * (high - low) or max(1e-6, abs(high) * 0.1)
    return low - margin, high + margin


def _share(value: float, low: float, high: float) -> float:
    return float((value - low) / (high - low))


def _ticks(parameter: Axis) -> list[tuple[float, str]]:
    if parameter.labels:
        return [(parameter.place(label), label) for label in parameter.labels]
    shares = np.linspace(0, 1, 5)
    if parameter.log:
        values = np.exp(np.log(parameter.low) + shares * np.log(parameter.high / parameter.low))
    else:
        values = parameter.low + shares * (parameter.high - parameter.low)
    return [(float(share), f"{value:.2g}") for share, value in zip(shares, values, strict=True)]


def _smooth(heights: Sequence[float]) -> Line:
    """Return a curve through the axes that is level where it crosses each: lines can be followed through a point."""
    points, codes = [(0.0, heights[0])], [Line.MOVETO]
    for column, (here, there) in enumerate(itertools.pairwise(heights)):
        points += [(column + 0.45, here), (column + 0.55, there), (column + 1.0, there)]
        codes += [Line.CURVE4] * 3
    return Line(points, codes)


def _short(name: str) -> str:
    """Return the last part of a dotted key: the whole one stands in the tables."""
    return name.rsplit(".", 1)[-1]
