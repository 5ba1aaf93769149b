"""A comparison as a table: for the terminal, as CSV, and as strict JSON."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from eventsam.report.compare import Comparison, Score
from eventsam.report.palette import direction_of
from eventsam.report.storage import finite_or_null
from eventsam.report.summary import interval, number

KINDS = {"best": "best checkpoint", "results": "held-out samples", "last": "last validation"}
MAX_COLUMNS = 6
"""Up to so many runs stand side by side as columns; more become rows."""

CELL_WIDTH = 9
"""Of a quantity's column where runs are lines; longer values fold."""

_NO_VALUE = "–"


@dataclass(frozen=True)
class Line:
    """One quantity of all runs: its group, its name, a cell per run, and the runs that are best in it."""

    group: str
    name: str
    cells: tuple[str, ...]
    winners: frozenset[int] = frozenset()


def lines(comparison: Comparison) -> Iterator[Line]:
    """Yield the table's lines: differing parameters first, then metrics by kind, then facts."""
    runs = comparison.runs
    for name in comparison.differing:
        yield Line("parameters that differ", name, tuple(shown(run.parameters.get(name, _NO_VALUE)) for run in runs))
    for kind, title in KINDS.items():
        for name in comparison.score_names(kind):
            scores = [getattr(run, kind).get(name) for run in runs]
            cells = tuple(score_text(score) for score in scores)
            yield Line(title, name, cells, comparison.winners(kind, name))
    yield Line("run", "status", tuple(run.status for run in runs))
    for name in dict.fromkeys(name for run in runs for name in run.facts):
        yield Line("run", name.replace("_", " "), tuple(run.facts.get(name, _NO_VALUE) for run in runs))


def shown(value: Any) -> str:
    """Return a parameter's value for people."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def score_text(score: Score | None) -> str:
    """Return a number with its interval where it has one."""
    if score is None:
        return _NO_VALUE
    text = number(score.value) if abs(score.value) >= 0.01 or score.value == 0 else f"{score.value:.3g}"
    return f"{text} {interval(score.low, score.high)}".strip()


def compare_text(comparison: Comparison, width: int = 110) -> str:
    """Return the table as plain text; `*` marks the best run of a metric. Wider tables fold, nothing is cut."""
    console = Console(file=io.StringIO(), width=width, no_color=True, force_terminal=False, emoji=False, markup=False)
    rows = list(lines(comparison))
    few = len(comparison.runs) <= MAX_COLUMNS
    if few:
        console.print(_as_columns(comparison, rows))
    else:
        for table in _as_rows(comparison, [row for row in rows if row.group != "run" or row.name == "status"], width):
            console.print(table)
    for group in comparison.groups:
        console.print(f"over seeds {', '.join(group.seeds)} ({', '.join(group.names)}):")
        for name, score in group.scores.items():
            console.print(f"  {label(name)} {score_text(score)}")
    console.print(f"{len(comparison.shared)} parameters are the same in all runs")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n"


def compare_csv(comparison: Comparison) -> str:
    """Return one line per run: name, status, every differing parameter, every metric with its bounds, every fact."""
    file = io.StringIO()
    rows = [_flat(comparison, place) for place in range(len(comparison.runs))]
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def compare_json(comparison: Comparison) -> dict[str, Any]:
    """Return everything but the curves as strict JSON: numbers that do not exist are None."""
    runs = [
        {
            "name": run.name,
            "status": run.status,
            "parameters": {name: run.parameters.get(name) for name in comparison.differing},
            **{kind: {name: asdict(score) for name, score in getattr(run, kind).items()} for kind in KINDS},
            "facts": dict(run.facts),
        }
        for run in comparison.runs
    ]
    groups = [asdict(group) for group in comparison.groups]
    found: dict[str, Any] = finite_or_null(
        {"differing": comparison.differing, "runs": runs, "over_seeds": groups, "shared": dict(comparison.shared)}
    )
    return found


def label(metric: str) -> str:
    """Return a metric's name for people, its place before it."""
    place, slash, name = metric.rpartition("/")
    return f"{place}{slash}{direction_of(name).label}"


def _flat(comparison: Comparison, place: int) -> dict[str, Any]:
    run = comparison.runs[place]
    row: dict[str, Any] = {"run": run.name, "status": run.status}
    row |= {name: shown(run.parameters[name]) for name in comparison.differing if name in run.parameters}
    for kind in KINDS:
        for name in comparison.score_names(kind):
            score: Score | None = getattr(run, kind).get(name)
            if score is not None:
                row[f"{kind}/{name}"] = score.value
                bounds = {f"{kind}/{name}/low": score.low, f"{kind}/{name}/high": score.high}
                row |= {key: bound for key, bound in bounds.items() if bound is not None}
    return row | dict(run.facts)


def _as_columns(comparison: Comparison, rows: Sequence[Line]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for run in comparison.runs:
        table.add_column(run.name, justify="right", overflow="fold")
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            table.add_row(f"[{group}]", end_section=False)
        table.add_row(f"  {_label_of(row)}", *_marked(row))
    return table


def _as_rows(comparison: Comparison, rows: Sequence[Line], width: int) -> Iterator[Table]:
    """Yield tables of a line per run, as many below each other as the quantities need: a terminal is only so wide."""
    short = [row for row in rows if row.group != KINDS["last"]]
    name_width = min(width // 3, max(len(run.name) for run in comparison.runs))
    at_once = max(1, (width - name_width - 4) // (CELL_WIDTH + 3))
    for first in range(0, len(short), at_once):
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("run", overflow="fold", min_width=name_width)
        for row in short[first : first + at_once]:
            table.add_column(_label_of(row), justify="right", overflow="fold", min_width=CELL_WIDTH)
        for place, run in enumerate(comparison.runs):
            table.add_row(run.name, *(_marked(row)[place] for row in short[first : first + at_once]))
        yield table


def _label_of(row: Line) -> str:
    return label(row.name) if row.group in KINDS.values() else row.name


def _marked(row: Line) -> list[str]:
    return [f"{cell} *" if place in row.winners else cell for place, cell in enumerate(row.cells)]
