"""From a sweep's folder to its report, its table on the screen, and the command that trains the winning recipe."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eventsam.recipe import load_recipe
from eventsam.report.sweep import Axis, SweepReport, TrialRow
from eventsam.spec import Spec, get, signature, to_json
from ray_jobs.sweep_placement import Placement
from ray_jobs.sweep_plan import Plan, samples_of, words
from ray_jobs.sweep_store import SweepFolder, TrialState
from search_spaces import Drawn, Parameter, Range, label_of


def sweep_report(plan: Plan, folder: SweepFolder, placement: Placement) -> SweepReport:
    """Return what the report of a sweep shows."""
    states = folder.states()
    rows = [_row(plan, folder, name, state) for name, state in states.items()]
    report = SweepReport(
        title=f"{plan.recipe_name} swept over {plan.space.name}",
        subtitle=f"{len(rows)} trials, {plan.options.scheduler} over {plan.options.search} points, in {folder.path}",
        metric=plan.space.metric,
        mode=plan.space.mode,
        axes=[_axis(key, parameter) for key, parameter in plan.space.parameters.items()],
        trials=rows,
        budget=plan.max_samples,
        num_seeds=plan.options.num_seeds,
        cpus=placement.asked.cpus_per_trial * max(1, placement.resources.num_workers),
        gpus=placement.asked.gpus_per_trial * max(1, placement.resources.num_workers),
        rungs=_rungs(plan),
        facts=_facts(plan, placement, states, folder.wall_s()),
        hashes={"catalog": plan.catalog_hash[:12], "code": str(folder.read_record()["code_hash"])},
    )
    winner = report.winner
    if winner is None:
        return report
    command = winning_command(plan, states[winner.name].values)
    return SweepReport(**{**report.__dict__, "command": command, "notes": _notes(report, folder)})


def winning_command(plan: Plan, values: Mapping[str, Drawn]) -> str:
    """Return the `eventsam train` command that states the recipe of a point."""
    return train_command(plan.recipe_name, plan.point(values).recipe)


def train_command(name: str, recipe: Spec) -> str:
    """Return the command that trains a recipe, every difference to the named one as a `--set`."""
    changes = list(_changes(load_recipe(name), recipe, ""))
    return shlex.join(["eventsam", "train", name, *(word for change in changes for word in ("--set", change))])


def plan_table(plan: Plan, placement: Placement) -> str:
    """Return the table of a plan: its points, what they cost, where they run."""
    keys = list(plan.space.parameters)
    lines = [["point", *keys, "samples", "recipe"]]
    for point in plan.points:
        drawn = [str(point.values[key]) if plan.space.matters(key, point.values) else "–" for key in keys]
        note = f"same as {point.same_as}" if point.same_as else point.hash
        lines.append([point.name, *drawn, str(samples_of(point.recipe)[0]), note])
    if not plan.points:
        lines.append(
            [f"{plan.num_trials} points that {plan.options.search} chooses on the way", *["…"] * len(keys), "", ""]
        )
    repeated = sum(bool(point.same_as) for point in plan.points)
    said = [
        f"{plan.num_trials} trials of {plan.max_samples} samples, validated every {plan.first_samples}"
        + (f"; {repeated} draws mean the same as an earlier point and are not run" if repeated else ""),
        f"{plan.options.scheduler} over {plan.options.search} points, score {plan.space.metric} ({plan.space.mode}), "
        f"{plan.options.num_seeds} seed{'s' * (plan.options.num_seeds > 1)} per point",
        f"{placement.concurrent} at once, {placement.asked.executor}: {placement.words}",
        *(f"{name}: {value}" for name, value in plan.facts.items()),
    ]
    return "\n".join([_columns(lines), "", *said])


def result_json(report: SweepReport) -> dict[str, Any]:
    """Return the numbers of a report as JSON-ready values."""
    trials = [{**trial.__dict__, "values": dict(trial.values), "curve": [list(pair) for pair in trial.curve]}
              for trial in report.trials]  # fmt: skip
    winner = report.winner
    return {"metric": report.metric, "mode": report.mode, "winner": winner.name if winner else None,
            "command": report.command, "trials": trials, "facts": dict(report.facts),
            "notes": list(report.notes)}  # fmt: skip


def result_table(report: SweepReport) -> str:
    """Return the trials as a table of text, the best first."""
    keys = [axis.name for axis in report.axes]
    lines = [["trial", *keys, report.metric, "samples", "status"]]
    for trial in [*report.ranked, *(trial for trial in report.trials if not trial.scored)]:
        score = f"{trial.score:.4f}" if trial.scored and trial.score is not None else "–"
        if trial.low is not None and trial.high is not None:
            score += f" [{trial.low:.4f}, {trial.high:.4f}]"
        status = f"failed: {trial.cause}" if trial.status == "failed" else trial.status
        lines.append(
            [trial.name, *(str(trial.values.get(key, "–")) for key in keys), score, str(trial.samples), status]
        )
    return _columns(lines)


def _row(plan: Plan, folder: SweepFolder, name: str, state: TrialState) -> TrialRow:
    records = folder.trial(name).log.read() if folder.trial(name).log.path.exists() else []
    clones = [
        f"from {event['from']} at {event['samples']} samples, then {words(plan.space, event['values'])}"
        for event in state.history
    ]
    return TrialRow(
        name=name,
        values={key: value for key, value in state.values.items() if plan.space.matters(key, state.values)},
        status=state.status,  # type: ignore[arg-type]
        samples=state.samples,
        score=state.score,
        low=state.low,
        high=state.high,
        curve=[(record["samples"], record["score"]) for record in records if "score" in record],
        cause=state.cause,
        seconds=state.seconds,
        train_s=state.train_s,
        data_wait_s=state.data_wait_s,
        starts=state.starts,
        clones=clones,
    )


def _axis(key: str, parameter: Parameter) -> Axis:
    if isinstance(parameter, Range):
        return Axis(key, low=parameter.low, high=parameter.high, log=parameter.log)
    return Axis(key, labels=parameter.labels)


def _rungs(plan: Plan) -> list[float]:
    if plan.options.scheduler == "pbt":
        return [float(samples) for samples in range(plan.first_samples, plan.max_samples, plan.first_samples)]
    if plan.options.scheduler == "fifo":
        return []
    rungs, rung = [], float(plan.first_samples)
    while rung < plan.max_samples:
        rungs.append(rung)
        rung *= plan.options.reduction
    return rungs


def _facts(plan: Plan, placement: Placement, states: Mapping[str, TrialState], wall_s: float) -> dict[str, str]:
    options, train = plan.options, sum(state.train_s for state in states.values())
    facts = {
        "search": f"{options.scheduler} over {options.search} points, search seed {options.search_seed}",
        "seeds": f"{options.num_seeds} per point, from {get(plan.recipe, 'seed')}; the same order of samples for all",
        "executor": f"{placement.asked.executor}, {placement.concurrent} trials at once",
        "budget": f"{plan.max_samples} samples a trial, validated every {plan.first_samples}",
    }
    if wall_s > 1 and placement.asked.executor == "in_trial":
        share = train / (wall_s * placement.concurrent)
        facts["inside training steps"] = f"{100 * share:.0f} % of {wall_s:.0f} s x {placement.concurrent} places"
    return facts | dict(plan.facts)


def _notes(report: SweepReport, folder: SweepFolder) -> list[str]:
    """Return what the report says in words, its limits included."""
    best, *others = report.ranked
    label = report.metric
    rivals = [trial for trial in others if trial.samples == best.samples]
    notes = [f"{best.name} is best: {label} {best.score:.4g} after {best.samples} samples."]
    if rivals:
        notes[0] += f" The next, {rivals[0].name}, reached {rivals[0].score:.4g}."
    if report.num_seeds == 1:
        notes.append("One seed per point: a small difference may be chance. --seeds 3 gives every point an interval.")
    elif (
        rivals
        and best.low is not None
        and rivals[0].high is not None
        and best.high is not None
        and rivals[0].low is not None
    ):
        apart = best.low > rivals[0].high if report.mode == "max" else best.high < rivals[0].low
        notes.append(
            "Their intervals do not overlap." if apart else "Their intervals overlap: they are not told apart."
        )
    if best.status != "finished":
        notes.append("No trial reached the end of its budget; the winner was stopped too.")
    if best.clones:
        notes.append(
            "The winner took over weights on the way: its command alone does not repeat that. Its checkpoints do."
        )
    notes.append(f"Checkpoints of the winner: {folder.trial(best.name).path}/seed_*/checkpoints")
    return notes


def _changes(default: Any, value: Any, path: str) -> Iterator[str]:
    """Yield `path=value` for everything that a spec states otherwise, calls of another kind as a whole."""
    if isinstance(default, Spec) and isinstance(value, Spec) and default.target is value.target:
        for name, parameter in signature(value.target).parameters.items():
            before = default.arguments.get(name, parameter.default)
            after = value.arguments.get(name, parameter.default)
            yield from _changes(before, after, f"{path}.{name}" if path else name)
        return
    if _items(default) and _items(value) and len(default) == len(value):
        for number, (before, after) in enumerate(zip(default, value, strict=True)):
            yield from _changes(before, after, f"{path}.{number}")
        return
    # A value that nobody stated is the default itself, which JSON need not know (a dataclass's factory).
    if default is not value and to_json(default) != to_json(value):
        yield f"{path}={_text(value)}"


def _items(value: Any) -> bool:
    return isinstance(value, tuple | list) and any(isinstance(item, Spec) for item in value)


def _text(value: Any) -> str:
    stated = isinstance(value, Spec) or _items(value)
    return json.dumps(to_json(value)) if stated else label_of(value)


def _columns(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
