"""Runs as their folders tell of them: recipe.json, metrics.jsonl, checkpoints and results; no server is asked."""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eventsam import checkpoint
from eventsam.metrics_log import MetricsLog
from eventsam.report.compare import ComparedRun, Score, parameters_shown
from eventsam.report.summary import OURS
from eventsam.spec import flatten, from_json
from eventsam.tracking.card import FOLDER, read_card
from eventsam.tracking.outbox import Outbox
from eventsam.tracking.rows import with_derived

log = logging.getLogger(__name__)

Record = dict[str, float]


def run_folders(path: Path) -> list[Path]:
    """Return a run's folder itself, else the runs in it: of a sweep, its trials.

    Raises:
        FileNotFoundError: there is no run.
    """
    trials = sorted(card.parents[1] for card in path.glob(f"trials/*/{FOLDER}/card.json"))
    if trials or _is_run(path):
        return trials or [path]
    found = sorted(folder.parent for folder in path.glob("*/recipe.json")) if path.is_dir() else []
    if not found:
        raise FileNotFoundError(f"{path} holds no run: neither recipe.json nor result.json is there")
    return found


def run_of_folder(folder: Path, name: str | None = None) -> ComparedRun:
    """Return what a run's folder tells of it; a demo's folder tells of all its stages."""
    recipe = _recipe(folder)
    records = list(_derived(MetricsLog(folder / "metrics.jsonl").read()))
    monitor = recipe.get("monitor.metric")
    mode = recipe.get("monitor.mode")
    best, last = scores_of(records)
    best = best or best_validation(records, str(monitor), lower=mode == "min")
    return ComparedRun(
        name=name or folder.name,
        status=_status(folder, records, recipe),
        parameters=recipe or dict(_stages(folder)),
        best=best,
        last=last,
        results=results_of(folder),
        facts=_facts(folder, records),
        curves=records,
        monitor=str(monitor) if monitor else None,
        lower_is_better=None if mode is None else mode == "min",
    )


def scores_of(records: list[Record]) -> tuple[dict[str, Score], dict[str, Score]]:
    """Return the numbers of the best checkpoint and of the newest validation, by metric."""
    newest: dict[str, Score] = {}
    for record in records:
        newest |= {name: Score(value) for name, value in record.items() if name.startswith(("best/", "val/"))}
    kinds = [
        {name.partition("/")[2]: score for name, score in newest.items() if name.startswith(kind)}
        for kind in ("best/", "val/")
    ]
    return kinds[0], kinds[1]


def best_validation(records: list[Record], monitor: str, lower: bool) -> dict[str, Score]:
    """Return the numbers of the validation with the best monitored one, for logs that do not name it: a sweep's."""
    known = [record for record in records if math.isfinite(record.get(f"val/{monitor}", math.nan))]
    if not known:
        return {}
    return scores_of([(min if lower else max)(known, key=lambda record: record[f"val/{monitor}"])])[1]


def results_of(folder: Path) -> dict[str, Score]:
    """Return the results on held-out samples: the folder's own, else what its demo's say of this stage."""
    own = _rows(folder / "result.json")
    if own:
        return named_scores(rows_of_run(own) if (folder / "recipe.json").exists() else own)
    wanted = OURS if folder.name == "fuse" else folder.name
    return named_scores([row for row in _rows(folder.parent / "result.json") if row["input"] == wanted])


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an evaluation; none where there is no such file, or where it is a sweep's."""
    found: list[dict[str, Any]] = json.loads(path.read_text()).get("rows", []) if path.exists() else []
    return found


def rows_of_run(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a run's own input, where an evaluation set other inputs beside it."""
    return [row for row in rows if row["input"] == OURS] or rows


def named_scores(rows: list[dict[str, Any]]) -> dict[str, Score]:
    """Return an evaluation's rows, as JSON has them, by name: BLUR/METRIC, and INPUT before it where there are more."""
    inputs = {row["input"] for row in rows}
    return {
        f"{row['input']}/{row['blur']}/{row['metric']}" if len(inputs) > 1 else f"{row['blur']}/{row['metric']}": Score(
            float("nan") if row["mean"] is None else row["mean"], row["low"], row["high"]
        )
        for row in rows
    }


def _derived(records: list[Record]) -> Iterator[Record]:
    validation: Record = {}
    for record in records:
        yield with_derived(record, validation)


def _recipe(folder: Path) -> dict[str, Any]:
    path = folder / "recipe.json"
    if not path.exists():
        return _of_card(folder)
    stated = json.loads(path.read_text())
    try:
        return flatten(from_json(stated))
    except (ImportError, AttributeError, ValueError, KeyError, TypeError) as error:
        log.warning(
            "%s names what this release does not have (%s); values left at defaults are not compared", path, error
        )
        return dict(_plain(stated, ""))


def _of_card(folder: Path) -> dict[str, Any]:
    """Return the parameters that a run's card tells its server, as a sweep's trials have them."""
    card = read_card(folder)
    return parameters_shown(card.parameters) if card else {}


def _plain(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Flatten a recipe's JSON without importing what it names."""
    if isinstance(node, Mapping) and node.keys() == {"call", "arguments"}:
        if path:
            yield path, node["call"].partition(":")[2]
        node = node["arguments"]
        if not node and path:
            return
    if isinstance(node, Mapping) and node:
        for name, item in node.items():
            yield from _plain(item, f"{path}.{name}" if path else name)
    elif isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        for index, item in enumerate(node):
            yield from _plain(item, f"{path}.{index}")
    else:
        yield path, node


def _stages(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.glob("*/recipe.json")):
        for name, value in _recipe(path.parent).items():
            yield f"{path.parent.name}.{name}", value


def _status(folder: Path, records: list[Record], recipe: Mapping[str, Any]) -> str:
    asked = Outbox(folder).last_status()
    if asked is not None and asked != "RUNNING":
        return asked.lower()
    if not records:
        return "no records" if recipe else "results"
    samples, batch = recipe.get("budget.num_samples"), recipe.get("budget.global_batch_size")
    whole = samples and batch and records[-1]["step"] >= -(-int(samples) // int(batch))
    return "finished" if whole else f"at step {records[-1]['step']:.0f}"


def _facts(folder: Path, records: list[Record]) -> dict[str, str]:
    facts = {}
    if records:
        facts["step"] = f"{records[-1]['step']:.0f}"
    for name, digits in (("samples_per_s", 1), ("data_wait_share", 3)):
        values = [record[name] for record in records if name in record]
        if values:
            facts[name] = f"{sum(values) / len(values):.{digits}f}"
    card = read_card(folder)
    tags = dict(card.tags) if card else {}
    # The newest state will do, whole or not: its weights are not read.
    for state in sorted((folder / "checkpoints").glob("step_*/state.json"))[-1:]:
        tags["catalog_hash"] = checkpoint.read_state(state.parent).catalog_hash
    for name in ("recipe_hash", "catalog_hash", "code_hash", "environment_hash"):
        if name in tags:
            facts[name] = tags[name][:12]
    return facts


def _is_run(path: Path) -> bool:
    return (path / "recipe.json").exists() or (path / "result.json").exists() or (path / "metrics.jsonl").exists()
