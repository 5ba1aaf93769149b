"""A sweep's report as one HTML file that opens from disk."""

import statistics
from collections.abc import Mapping
from html import escape
from pathlib import Path

from eventsam.report.page import captioned, card, folded, page, picture, section, table
from eventsam.report.palette import direction_of
from eventsam.report.summary import interval, number
from eventsam.report.sweep import Drawn, SweepReport, TrialRow
from eventsam.report.sweep_figures import all_figures
from eventsam.report.sweep_importance import FEWEST_TRIALS, common_samples, importances

CAPTIONS = {
    "parallel_coordinates": "One line per trial, from its parameters to its score; the winner is orange, better ones "
    "are darker, trials that were stopped early are thin, failed ones red and dashed.",
    "learning_curves": "One line per trial; squares mark where a trial was stopped. Dashed: the samples at which the "
    "scheduler decides.",
    "importance": "Epsilon squared of a one-way analysis of variance (thirds of a range, labels of a choice), at the "
    "samples that every trial reached. Each parameter alone, averaged over the others as they were drawn: interactions "
    "stay unseen. A bar that does not pass its red mark (95 % of 1000 shuffles) is not told apart from nothing.",
    "cost": "Wall clock of every trial. Trials run side by side, so the sums are more than the sweep's own time.",
}
ALTERNATIVES = {
    "parallel_coordinates": "Parallel coordinates of parameters and score",
    "learning_curves": "Score against samples for each trial",
    "importance": "Share of the spread of scores per parameter",
    "cost": "Seconds per trial",
}


def write_sweep_report(path: Path, report: SweepReport) -> dict[str, bytes]:
    """Write the page to `path`, its folder made if missing; return its figures by file stem."""
    samples = common_samples(report)
    figures = all_figures(report, importances(report, samples))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sweep_html(report, figures), encoding="utf-8")
    return figures


def sweep_html(report: SweepReport, figures: Mapping[str, bytes]) -> str:
    """Return the page, in UTF-8 text."""
    sections = (
        _tiles(report),
        card("".join(f"<p>{escape(note)}</p>" for note in report.notes)),
        section("The winning recipe", _command(report)),
        section("Where the good points lie", _figure(figures, "parallel_coordinates")),
        section("Which parameters matter", _importance(report, figures)),
        section("Learning curves", _figure(figures, "learning_curves")),
        section("Trials", _trials(report), _failed(report)),
        section("Cost", _figure(figures, "cost"), _costs(report)),
        section("How it was run", _facts(report)),
    )
    return page(report.title, report.subtitle, (html for html in sections if html))


def _figure(figures: Mapping[str, bytes], name: str) -> str:
    if name not in figures:
        return ""
    return card(captioned(picture(figures[name], ALTERNATIVES[name]), escape(CAPTIONS[name])), "wide")


def _tiles(report: SweepReport) -> str:
    """The first look: the best score, where it was found, and how the trials ended."""
    winner, tiles = report.winner, []
    label = direction_of(report.metric).label
    if winner is not None and winner.score is not None:
        spread = (
            f"95 % interval {interval(winner.low, winner.high)}"
            if winner.low is not None and winner.high is not None
            else "one seed: no interval"
        )
        tiles.append(
            ("var(--accent)", f"Best {label}", number(winner.score), f"{winner.name}, {winner.samples} samples", spread)
        )
        others = [trial.score for trial in report.ranked if trial.samples == winner.samples and trial.score is not None]
        tiles.append(
            (
                "",
                f"Median {label}",
                number(statistics.median(others)),
                f"of {len(others)} trials with as many samples",
                "&nbsp;",
            )
        )
    counts = {
        status: sum(trial.status == status for trial in report.trials) for status in ("finished", "stopped", "failed")
    }
    kinds = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    tiles.append(("", "Trials", str(len(report.trials)), kinds or "none has ended", "&nbsp;"))
    used = sum(trial.samples for trial in report.trials)
    whole = len(report.trials) * report.budget
    tiles.append(
        (
            "",
            "Samples trained on",
            f"{100 * used / whole:.0f} %" if whole else "–",
            "of what all trials to the end would take",
            "&nbsp;",
        )
    )
    return '<div class="tiles">' + "".join(
        f'<div class="tile" style="{f"--colour: {colour}" if colour else ""}"><span class="name">{escape(name)}</span>'
        f"<b>{value}</b><span>{escape(first)}</span><span>{second}</span></div>"
        for colour, name, value, first, second in tiles
    ) + "</div>"  # fmt: skip


def _command(report: SweepReport) -> str:
    winner = report.winner
    if winner is None:
        return card("<p>No trial has a score.</p>")
    values = ", ".join(f"{name} = {_shown(value)}" for name, value in winner.values.items())
    return card(f"<p>{escape(winner.name)}: {escape(values)}</p><pre>{escape(report.command)}</pre>")


def _importance(report: SweepReport, figures: Mapping[str, bytes]) -> str:
    if "importance" in figures:
        samples = f"<p>Scores after {common_samples(report):.0f} of {report.budget} samples.</p>"
        return card(
            samples
            + captioned(picture(figures["importance"], ALTERNATIVES["importance"]), escape(CAPTIONS["importance"])),
            "wide",
        )
    scored = sum(trial.scored for trial in report.trials)
    if not scored:
        return ""
    why = (
        f"{scored} trials have a score" if scored < FEWEST_TRIALS else "the scores that all trials share do not differ"
    )
    return card(f"<p>Not shown: {why} (at least {FEWEST_TRIALS} different ones are needed to say anything).</p>")


def _trials(report: SweepReport) -> str:
    names = [axis.name for axis in report.axes]
    order = [*report.ranked, *(trial for trial in report.trials if not trial.scored)]
    rows = []
    for trial in order:
        cells = [escape(trial.name), *(_shown(trial.values.get(name, "–")) for name in names), _score(trial),
                 f"{trial.samples}", escape(trial.status)]  # fmt: skip
        rows.append(("ours" if trial is report.winner else "", cells))
    head = ("trial", *names, direction_of(report.metric).label, "samples", "")
    clones = "".join(
        f"<p>{escape(trial.name)}: {escape('; '.join(trial.clones))}</p>" for trial in report.trials if trial.clones
    )
    return card(table(head, rows) + folded("What took weights from where", clones))


def _failed(report: SweepReport) -> str:
    rows = [("facts", (escape(trial.name), escape(trial.cause))) for trial in report.failed]
    return card(table((), rows, "Failed trials<span>and why</span>")) if rows else ""


def _costs(report: SweepReport) -> str:
    total, train = sum(trial.seconds for trial in report.trials), sum(trial.train_s for trial in report.trials)
    rows = [("ours", ("all trials", *_cost(report, total, train)))]
    for trial in sorted(report.trials, key=lambda trial: -trial.seconds):
        name = escape(trial.name) + (f"<small>started {trial.starts} times</small>" if trial.starts > 1 else "")
        rows.append(("", (name, *_cost(report, trial.seconds, trial.train_s))))
    head = ("", "wall clock", "CPU hours", "GPU hours", "in training steps")
    return card(folded("Cost of each trial", table(head, rows)))


def _cost(report: SweepReport, seconds: float, train_s: float) -> tuple[str, ...]:
    share = f"{100 * train_s / seconds:.0f} %" if seconds else "–"
    hours = (f"{seconds * held / 3600:.3f} h" for held in (report.cpus, report.gpus))
    return (f"{seconds:.1f} s", *hours, share)


def _facts(report: SweepReport) -> str:
    rows = [("facts", (escape(name), escape(value))) for name, value in report.facts.items()]
    rows += [("facts", (escape(name), f"<code>{escape(value)}</code>")) for name, value in report.hashes.items()]
    return card(table((), rows)) if rows else ""


def _score(trial: TrialRow) -> str:
    if trial.score is None or not trial.scored:
        return "–"
    spread = (
        f"<small>{interval(trial.low, trial.high)}</small>" if trial.low is not None and trial.high is not None else ""
    )
    return number(trial.score) + spread


def _shown(value: Drawn) -> str:
    return escape(f"{value:.3g}" if isinstance(value, float) else str(value))
