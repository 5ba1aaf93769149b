"""A comparison as one offline HTML page: the table, the means over seeds, and the runs' curves in one picture."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eventsam.report.canvas import draw_panels
from eventsam.report.compare import ComparedRun, Comparison
from eventsam.report.compare_table import KINDS, MAX_COLUMNS, Line, label, lines, score_text, shown
from eventsam.report.page import card, folded, page, picture, section, table

MAX_CURVES = 10
"""So many runs, the best ones, are drawn; more could not be told apart."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#777777", "#E69F00", "#56B4E9", "#3D5A80", "#B3261E", "#117733")


def write_comparison(path: Path, comparison: Comparison, title: str = "Runs compared") -> None:
    """Write the page, its folder made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(comparison_html(comparison, title), encoding="utf-8")


def comparison_html(comparison: Comparison, title: str) -> str:
    """Return the page's text."""
    sections = (
        section("Side by side", card(_table(comparison))),
        section("Over seeds", card(_seeds(comparison))),
        section("Curves", _curves(comparison)),
        section("What all runs share", card(folded(f"{len(comparison.shared)} parameters", _shared(comparison)))),
    )
    count = len(comparison.runs)
    ranked = ", best first" if len({run.monitor for run in comparison.runs}) == 1 else ""
    subtitle = f"{count} run{'s' if count > 1 else ''}{ranked}; {len(comparison.differing)} parameters differ"
    return page(title, subtitle, (html for html in sections if html))


def _table(comparison: Comparison) -> str:
    """Lay few runs side by side as columns; many become lines, and the page scrolls sideways."""
    rows, runs = list(lines(comparison)), comparison.runs
    caption = "Differing parameters first, then metrics; the best of each in bold"
    if len(runs) > MAX_COLUMNS:
        body = [
            ("", [f"<b>{escape(run.name)}</b>", *(_cell(row, place) for row in rows)]) for place, run in enumerate(runs)
        ]
        return table(("run", *(_head(row) for row in rows)), body, caption)
    body, group = [], ""
    for row in rows:
        if row.group != group:
            group = row.group
            body.append(("", [f"<b>{escape(group)}</b>", *("" for _ in runs)]))
        name = label(row.name) if row.group in KINDS.values() else row.name
        body.append(("", [escape(name), *(_cell(row, place) for place in range(len(runs)))]))
    return table(("", *(run.name for run in runs)), body, caption)


def _head(row: Line) -> str:
    return f"{label(row.name)}, {row.group}" if row.group in KINDS.values() else row.name


def _cell(row: Line, place: int) -> str:
    value, _, bounds = row.cells[place].partition(" [") if row.group in KINDS.values() else (row.cells[place], "", "")
    text = escape(value) + (f"<small>[{escape(bounds)}</small>" if bounds else "")
    return f"<b>{text}</b>" if place in row.winners else text


def _seeds(comparison: Comparison) -> str:
    names = tuple(dict.fromkeys(name for group in comparison.groups for name in group.scores))
    if not names:
        return ""
    body = []
    for group in comparison.groups:
        cells = [
            ", ".join(group.names),
            ", ".join(group.seeds),
            *(score_text(group.scores.get(name)) for name in names),
        ]
        body.append(("", [escape(cell) for cell in cells]))
    return table(("runs", "seeds", *map(label, names)), body, "Means with 95 % intervals (Student's t)")


def _shared(comparison: Comparison) -> str:
    return table((), [("facts", [escape(k), escape(shown(v))]) for k, v in comparison.shared.items()])


def _curves(comparison: Comparison) -> str:
    runs = [run for run in comparison.runs if run.curves][:MAX_CURVES]
    names = tuple(name for name in comparison.score_names("last") if any(_points(run, f"val/{name}") for run in runs))
    if not runs:
        return ""
    shown_names = ("loss", *(f"val/{name}" for name in names))

    def draw(figure: Figure, axes: Sequence[Axes]) -> None:
        for axis, name in zip(axes, shown_names, strict=True):
            for place, run in enumerate(runs):
                points = _points(run, name)
                few = "o" if len(points) < 12 else None
                if points:
                    axis.plot(*zip(*points, strict=True), color=COLOURS[place % len(COLOURS)], marker=few, markersize=3,
                              linewidth=1.3, label=run.name)  # fmt: skip
            axis.set_title(label(name))
            axis.set_xlabel("step")
        axes[0].legend(fontsize=7, frameon=False)

    alternative = f"Curves of {', '.join(run.name for run in runs)}"
    return card(picture(draw_panels(len(shown_names), 3, (3.6, 2.5), draw), alternative), "wide")


def _points(run: ComparedRun, name: str) -> list[tuple[float, float]]:
    return [(record["step"], record[name]) for record in run.curves if name in record and record[name] == record[name]]
