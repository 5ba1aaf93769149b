"""The results without pictures: for programs as JSON, for the terminal as a table."""

import io
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from eventsam.report.data import GroupRow, ReportData, ResultRow, Share
from eventsam.report.palette import BLURS, INPUTS, METRICS, direction_of, in_order, look_of
from eventsam.report.storage import finite_or_null

OURS = "events_blurry"


def result_json(report: ReportData) -> dict[str, Any]:
    """Return what `--json` writes: rows, gap_closed of events + blurry by blur level, seconds, peak_memory_bytes.

    `gap_closed_by_input`, `differences`, `groups`, `pooled_rows`, `pooled_differences`, `notes`, `commands` and
    `hashes` come on top. Numbers that do not exist are None, so the result is strict JSON.
    """
    shares = {
        name: {blur: asdict(share) for blur, share in levels.items()} for name, levels in report.gap_closed.items()
    }
    result: dict[str, Any] = finite_or_null(
        {
            "rows": [asdict(row) for row in report.rows],
            "gap_closed": shares.get(OURS, {}),
            "seconds": report.seconds,
            "peak_memory_bytes": report.peak_memory_bytes,
            "gap_closed_by_input": shares,
            "differences": [asdict(row) for row in report.differences],
            "groups": [asdict(row) for row in report.groups],
            "pooled_rows": [asdict(row) for row in report.pooled_rows],
            "pooled_differences": [asdict(row) for row in report.pooled_differences],
            "notes": report.notes,
            "commands": report.commands,
            "hashes": report.hashes,
        }
    )
    return result


def table_text(report: ReportData, width: int = 110) -> str:
    """Return the result tables as plain text of at most `width` columns: one per metric and seed, then the gap."""
    console = Console(file=io.StringIO(), width=width, no_color=True, force_terminal=False, emoji=False, markup=False)
    for metric in in_order((row.metric for row in report.rows), METRICS):
        for seed in dict.fromkeys(row.seed for row in report.rows):
            rows = [row for row in report.rows if row.metric == metric and row.seed == seed]
            if rows:
                console.print(_metric_table(rows))
    for metric in in_order((row.metric for row in report.pooled_rows), METRICS):
        console.print(_metric_table([row for row in report.pooled_rows if row.metric == metric], "all runs"))
    for table in _group_tables(report.groups):
        console.print(table)
    if report.gap_closed:
        console.print(_gap_table(report))
    for note in report.notes:
        console.print(note)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()).strip() + "\n"


def number(value: float | None, signed: bool = False) -> str:
    """Return a value with three significant decimals for people, a dash where there is none."""
    if value is None or value != value:
        return "–"
    return (f"{value:+.3f}" if signed else f"{value:.3f}").replace("-", "−")


def percent(value: float | None) -> str:
    """Return a share as a whole percentage, a dash where there is none."""
    return "–" if value is None or value != value else f"{100 * value:.0f} %".replace("-", "−")


def interval(low: float | None, high: float | None, signed: bool = False) -> str:
    """Return an interval as `[low, high]`, empty where it does not exist."""
    if low is None or high is None or low != low or high != high:
        return ""
    return f"[{number(low, signed)}, {number(high, signed)}]"


def mean_over_seeds(rows: Sequence[ResultRow], input_name: str, blur: str, metric: str) -> float:
    """Return the mean over seeds of one cell, NaN where the rows have none."""
    values = [row.mean for row in rows if (row.input, row.blur, row.metric) == (input_name, blur, metric)]
    return fmean(values) if values else float("nan")


def _metric_table(rows: Sequence[ResultRow], which: str | None = None) -> Table:
    blurs = in_order((row.blur for row in rows), BLURS)
    first, direction = rows[0], direction_of(rows[0].metric)
    better = "higher" if direction.higher_is_better else "lower"
    objects = " / ".join(str(count) for count in dict.fromkeys(row.num_objects for row in rows))
    runs = which or f"seed {first.seed}"
    title = f"{direction.label} ({better} is better), {runs}, {objects} held-out objects, 95 % intervals"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="")
    table.add_column("input")
    for blur in blurs:
        table.add_column(blur, justify="right", no_wrap=True)
    cells = {(row.input, row.blur): f"{number(row.mean)} {interval(row.low, row.high)}" for row in rows}
    for name in in_order((row.input for row in rows), INPUTS):
        table.add_row(look_of(name).label, *(cells.get((name, blur), "–") for blur in blurs))
    return table


def _group_tables(groups: Sequence[GroupRow]) -> list[Table]:
    """One table per grouping, seed, metric and level; objects are too many for a terminal."""
    shown = [row for row in groups if row.grouping != "object"]
    tables = []
    for grouping, seed, metric, blur in dict.fromkeys((r.grouping, r.seed, r.metric, r.blur) for r in shown):
        rows = [r for r in shown if (r.grouping, r.seed, r.metric, r.blur) == (grouping, seed, metric, blur)]
        inputs = in_order((row.input for row in rows), INPUTS)
        title = f"{direction_of(metric).label} by {grouping}, {blur} blur, seed {seed}"
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="")
        for head in (grouping, "objects", *(look_of(name).label for name in inputs)):
            table.add_column(head)
        means = {(row.group, row.input): number(row.mean) for row in rows}
        for group, count in {row.group: row.num_objects for row in rows}.items():
            table.add_row(group, str(count), *(means.get((group, name), "–") for name in inputs))
        tables.append(table)
    return tables


def _gap_table(report: ReportData) -> Table:
    blurs = in_order((blur for shares in report.gap_closed.values() for blur in shares), BLURS)
    title = "Share of the gap between blurry and sharp RGB that is closed"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="")
    table.add_column("input")
    for blur in blurs:
        table.add_column(blur, justify="right", no_wrap=True)
    for name in in_order(report.gap_closed, INPUTS):
        table.add_row(look_of(name).label, *(_share_text(report.gap_closed[name].get(blur)) for blur in blurs))
    return table


def _share_text(share: Share | None) -> str:
    if share is None or share.share is None:
        return "no gap"
    bounds = f" [{percent(share.low)}, {percent(share.high)}]" if share.low is not None else ""
    return percent(share.share) + bounds
