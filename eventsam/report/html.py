"""A report as one HTML file that opens from disk: no external address, no script."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from eventsam.report.canvas import png
from eventsam.report.curves import curve_names, data_wait, logged_numbers, loss_curves
from eventsam.report.data import ReportData, ResultRow, SampleRow, Share
from eventsam.report.extra_html import (
    attention_card,
    difference_table,
    group_tables,
    pooled_tables,
    with_interval,
)
from eventsam.report.figures import LADDER_METRICS, SHAPES, blur_ladder, gap_bars
from eventsam.report.page import captioned, card, folded, page, picture, section, table
from eventsam.report.palette import BLURS, IMAGES, INPUTS, METRICS, direction_of, in_order, look_of
from eventsam.report.summary import OURS, number, percent
from eventsam.report.voxels import render_occupancy, trim_together

_LONGEST_HEAD = 16


def write_report(path: Path, report: ReportData) -> None:
    """Write the report to `path`, its folder made if missing; parts without data are left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report_html(report), encoding="utf-8")


def report_html(report: ReportData) -> str:
    """Return the report's page, in UTF-8 text."""
    sections = (
        _tiles(report),
        card(_notes(report.notes), "notes"),
        section("How results hold up against blur", _ladder(report), _gap(report)),
        section("Held-out objects", *(_sample(sample) for sample in report.samples)),
        section("Where the encoders look", *(attention_card(row) for row in report.attention)),
        section("All numbers", *_result_tables(report.rows)),
        section("Over all runs", *pooled_tables(report)),
        section("By group", *group_tables(report.groups)),
        section("Training", _losses(report), _details(report)),
        section("Time and memory", _wait(report), _times(report)),
        section("How to get this again", _commands(report), _facts(report)),
    )
    return page(report.title, report.subtitle, (html for html in sections if html))


def _tiles(report: ReportData) -> str:
    """The first look: what the hardest level says of each input between the bounds."""
    blurs = in_order((blur for shares in report.gap_closed.values() for blur in shares), BLURS)
    if not blurs:
        return ""
    hardest, tiles = blurs[-1], []
    for name in in_order(report.gap_closed, (OURS, "control", "edi")):
        share, look = report.gap_closed[name].get(hardest, Share(None, None, None)), look_of(name)
        words = f"{'no gap to close' if share.share is None else 'of the gap closed'} at {hardest} blur"
        bounds = f"95 % interval {percent(share.low)} to {percent(share.high)}" if share.low is not None else "&nbsp;"
        tiles.append(
            f'<div class="tile" style="--colour: {look.colour}"><span class="name">{escape(look.label)}</span>'
            f"<b>{percent(share.share)}</b><span>{escape(words)}</span><span>{bounds}</span></div>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _notes(notes: Sequence[str]) -> str:
    """Sentences that open with one short head ("Hard blur: ...") are listed beside it, the first head's in sight."""
    alone, groups = [], dict[str, list[str]]()
    for note in notes:
        head, colon, rest = note.partition(": ")
        if colon and len(head) <= _LONGEST_HEAD:
            groups.setdefault(head, []).append(rest)
        else:
            alone.append(f'<p class="whole">{escape(note)}</p>')
    blocks = [
        f"<h3>{escape(head)}</h3><ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"
        for head, sentences in groups.items()
    ]
    rest = f"<div>{''.join(blocks[1:])}</div>" if blocks[1:] else ""
    return "".join(blocks[:1]) + "".join(alone) + folded(", ".join(list(groups)[1:]), rest)


def _ladder(report: ReportData) -> str:
    if not any(row.metric in LADDER_METRICS for row in report.rows):
        return ""
    seeds = len({row.seed for row in report.rows})
    counts = sorted({row.num_objects for row in report.rows})
    objects = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    caption = (
        f"Mean over {objects} held-out objects and {seeds} seed{'s' * (seeds > 1)}; "
        "bars: bootstrap 95 % interval of each seed."
    )
    return card(captioned(picture(blur_ladder(report.rows), "Metrics against motion blur"), caption), "wide")


def _gap(report: ReportData) -> str:
    if not report.gap_closed:
        return ""
    differences = card(folded("Paired differences", difference_table(report.differences)))
    return card(picture(gap_bars(report.gap_closed), "Share of the gap closed per blur level"), "wide") + differences


def _sample(sample: SampleRow) -> str:
    frames = "".join(
        captioned(_frame(sample, name), escape(IMAGES.get(name, name))) for name in in_order(sample.images, IMAGES)
    )
    names = in_order(sample.occupancies, SHAPES)
    rendered = trim_together([render_occupancy(sample.occupancies[name], look_of(name).colour) for name in names])
    shapes = "".join(
        captioned(picture(png(shape), f"Shape from {look_of(name).label}"), _shape_caption(sample, name))
        for name, shape in zip(names, rendered, strict=True)
    )
    title = f'<h3>{escape(sample.title)}<span class="tag">{escape(sample.blur)} blur</span></h3>'
    return card(f'{title}<div class="strip frames">{frames}</div><div class="strip shapes">{shapes}</div>')


def _frame(sample: SampleRow, name: str) -> str:
    image = sample.images[name]
    return picture(png(image), f"{IMAGES.get(name, name)} of {sample.title}", scale=1, pixelated=image.shape[2] < 200)


def _shape_caption(sample: SampleRow, name: str) -> str:
    look = look_of(name)
    score = f"<b>vIoU {number(sample.scores[name])}</b>" if name in sample.scores else ""
    return f'<span class="dot" style="--colour: {look.colour}"></span>{escape(look.label)}{score}'


def _result_tables(rows: Sequence[ResultRow]) -> list[str]:
    """One table per metric and seed; those of metrics outside the ladder are folded away."""
    shown: list[str] = []
    others: list[str] = []
    for metric in in_order((row.metric for row in rows), METRICS):
        for seed in dict.fromkeys(row.seed for row in rows):
            chosen = [row for row in rows if row.metric == metric and row.seed == seed]
            if chosen:
                (shown if metric in LADDER_METRICS else others).append(card(_result_table(chosen)))
    first, second = (f'<div class="columns">{"".join(tables)}</div>' if tables else "" for tables in (shown, others))
    return [first, folded("Other metrics", second, opened=not first)]


def _result_table(rows: Sequence[ResultRow]) -> str:
    blurs = in_order((row.blur for row in rows), BLURS)
    cells = {(row.input, row.blur): with_interval(row.mean, row.low, row.high) for row in rows}
    lines = []
    for name in in_order((row.input for row in rows), INPUTS):
        look = look_of(name)
        label = f'<span class="dot" style="--colour: {look.colour}"></span>{escape(look.label)}'
        lines.append(("ours" if name == OURS else "", (label, *(cells.get((name, blur), "–") for blur in blurs))))
    direction = direction_of(rows[0].metric)
    better = "higher" if direction.higher_is_better else "lower"
    caption = f"{escape(direction.label)}<span>{better} is better, seed {rows[0].seed}</span>"
    return table(("", *blurs), lines, caption)


def _losses(report: ReportData) -> str:
    if not report.losses:
        return ""
    caption = "Logged loss (pale), its running mean, and the validation loss where there is one."
    return card(captioned(picture(loss_curves(report.losses), "Loss curves per stage"), caption), "wide")


def _details(report: ReportData) -> str:
    """Every logged number, folded away per stage; open at once when the report is of one run."""
    details = []
    for stage, records in report.losses.items():
        if curve_names(records):
            image = picture(logged_numbers(records), f"All logged numbers of {stage}")
            details.append(folded(f"Every logged number of {stage}", image, opened=len(report.losses) == 1))
    return card("".join(details), "details")


def _wait(report: ReportData) -> str:
    timed = any("data_wait_s" in record for records in report.losses.values() for record in records)
    return card(picture(data_wait(report.losses), "Share of time waiting for data"), "wide") if timed else ""


def _times(report: ReportData) -> str:
    total = sum(report.seconds.values())
    longest = max(report.seconds.values(), default=0.0) or 1.0
    rows = []
    for stage, seconds in report.seconds.items():
        bar = f'<span class="bar" style="width: {100 * seconds / longest:.1f}%"></span>'
        rows.append(("times", (escape(stage), bar, f"{seconds:.1f} s")))
    if len(report.seconds) > 1:
        rows.append(("ours", ("all stages", "", f"{total:.1f} s")))
    if report.peak_memory_bytes is not None:
        rows.append(("ours", ("peak memory", "", f"{report.peak_memory_bytes / 2**30:.2f} GiB")))
    return card(table((), rows)) if rows else ""


def _commands(report: ReportData) -> str:
    return card(f"<pre>{escape(chr(10).join(report.commands))}</pre>") if report.commands else ""


def _facts(report: ReportData) -> str:
    rows = [("facts", (escape(name), escape(value))) for name, value in report.facts.items()]
    rows += [("facts", (escape(name), f"<code>{escape(value)}</code>")) for name, value in report.hashes.items()]
    return card(table((), rows)) if rows else ""
