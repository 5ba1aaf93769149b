"""The report's tables of differences, of groups and of several runs together, and the attention cards."""

from collections.abc import Sequence
from html import escape

from eventsam.report.attention import attention_pictures
from eventsam.report.data import AttentionRow, Difference, GroupRow, ReportData, ResultRow
from eventsam.report.page import captioned, card, folded, picture, table
from eventsam.report.palette import BLURS, INPUTS, METRICS, direction_of, in_order, look_of
from eventsam.report.summary import interval, number

NUM_OPEN_GROUPS = 12
"""Longer tables are folded away."""


def with_interval(mean: float, low: float, high: float, signed: bool = False) -> str:
    """Return a number over its interval as HTML."""
    return f"{number(mean, signed)}<small>{interval(low, high, signed)}</small>"


def difference_table(differences: Sequence[Difference], seeds: bool = True) -> str:
    """Return a table of paired differences, empty without any; `seeds` False leaves the seeds out."""
    rows = [
        (
            "",
            (
                f"{escape(look_of(row.first).label)} − {escape(look_of(row.second).label)}",
                escape(row.blur),
                escape(direction_of(row.metric).label),
                *((str(row.seed),) if seeds else ()),
                with_interval(row.mean, row.low, row.high, signed=True),
            ),
        )
        for row in differences
    ]
    head = ("paired difference", "blur", "metric", *(("seed",) if seeds else ()), "mean and 95 % interval")
    return table(head, rows) if rows else ""


def pooled_tables(report: ReportData) -> list[str]:
    """Return what all runs say together: a table per metric, then the paired differences."""
    metrics = in_order((row.metric for row in report.pooled_rows), METRICS)
    tables = [card(_pooled([row for row in report.pooled_rows if row.metric == metric])) for metric in metrics]
    columns = f'<div class="columns">{"".join(tables)}</div>' if tables else ""
    differences = difference_table(report.pooled_differences, seeds=False)
    return [columns, card(folded("Paired differences over all runs", differences))]


def group_tables(groups: Sequence[GroupRow]) -> list[str]:
    """Return one table per grouping, seed, metric and blur level: a row per group, a column per input."""
    keys = tuple(dict.fromkeys((row.grouping, row.seed, row.metric, row.blur) for row in groups))
    tables = []
    for key in keys:
        rows = [row for row in groups if (row.grouping, row.seed, row.metric, row.blur) == key]
        grouping, seed, metric, blur = key
        title = f"{direction_of(metric).label} by {grouping}, {blur} blur, seed {seed}"
        num_groups = len({row.group for row in rows})
        tables.append(card(folded(title, _groups(grouping, rows), opened=num_groups <= NUM_OPEN_GROUPS)))
    return tables


def attention_card(row: AttentionRow) -> str:
    """Return teacher and student under each other: what each sees, then where each block looks."""
    strips = []
    for name, pictures in attention_pictures(row).items():
        captions = (f"{name} sees", *(f"block {block}" for block in row.blocks))
        figures = (
            captioned(picture(image, f"{caption}, {name}", scale=1), escape(caption))
            for image, caption in zip(pictures, captions, strict=True)
        )
        strips.append(f'<div class="strip attention">{"".join(figures)}</div>')
    return card(f"<h3>{escape(row.title)}</h3>{''.join(strips)}")


def _pooled(rows: Sequence[ResultRow]) -> str:
    blurs = in_order((row.blur for row in rows), BLURS)
    cells = {(row.input, row.blur): with_interval(row.mean, row.low, row.high) for row in rows}
    lines = [
        ("", (escape(look_of(name).label), *(cells.get((name, blur), "–") for blur in blurs)))
        for name in in_order((row.input for row in rows), INPUTS)
    ]
    caption = f"{escape(direction_of(rows[0].metric).label)}<span>all runs, {rows[0].num_objects} objects</span>"
    return table(("", *blurs), lines, caption)


def _groups(grouping: str, rows: Sequence[GroupRow]) -> str:
    inputs = in_order((row.input for row in rows), INPUTS)
    cells = {(row.group, row.input): with_interval(row.mean, row.low, row.high) for row in rows}
    counts = {row.group: row.num_objects for row in rows}
    lines = [
        ("", (escape(group), str(count), *(cells.get((group, name), "–") for name in inputs)))
        for group, count in counts.items()
    ]
    return table((grouping, "objects", *(look_of(name).label for name in inputs)), lines)
