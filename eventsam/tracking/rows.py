"""Records of a log to MLflow metrics: derived numbers added, steps redone after a restart left out."""

import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass

_CLOCKS = ("time", "step")


def with_derived(record: Mapping[str, float], validation: MutableMapping[str, float]) -> dict[str, float]:
    """Return a record with the numbers that follow from it.

    `data_wait_share` of the time and `samples_per_s` come from the step's clocks. Beside the monitored `best/NAME`, the
    other metrics of that same validation follow as `best/...`: the numbers of the best checkpoint. `validation` carries
    the newest validation from record to record.
    """
    derived = dict(record)
    busy_s = record.get("data_wait_s", 0.0) + record.get("step_s", 0.0)
    if busy_s > 0 and "data_wait_s" in record:
        derived["data_wait_share"] = record["data_wait_s"] / busy_s
        if record.get("step") and "samples" in record:
            derived["samples_per_s"] = record["samples"] / record["step"] / busy_s
    values = {name.removeprefix("val/"): value for name, value in record.items() if name.startswith("val/")}
    if values:
        validation.clear()
        validation.update({**values, "step": record["step"]})
    if any(name.startswith("best/") for name in record) and validation.get("step") == record["step"]:
        derived |= {f"best/{name}": value for name, value in validation.items() if name != "step"}
    return derived


def fresh(record: Mapping[str, float], last_steps: MutableMapping[str, int]) -> dict[str, float]:
    """Return the numbers of a record whose step lies behind what was sent of them, and note them as sent.

    A step that is redone after a restart is thus sent once and never out of order.
    """
    step = int(record["step"])
    values = {}
    for name, value in record.items():
        if name not in _CLOCKS and step > last_steps.get(name, -1):
            values[metric_name(name)] = float(value)
            last_steps[name] = step
    return values


def metric_name(name: str) -> str:
    """Return a name that MLflow takes: letters, digits, `_-. :/`, at most 250 of them."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250]


@dataclass(frozen=True)
class Redone:
    """How often a run went back, how many logged steps it did again, and how many of those gave another loss."""

    num_restarts: int
    num_steps: int
    num_different: int


def redone_steps(records: Iterable[Mapping[str, float]]) -> Redone:
    """Count restarts in a log as it was written."""
    losses: dict[float, float] = {}
    newest, restarts, steps, different = -1.0, 0, 0, 0
    for record in records:
        if "loss" not in record:
            continue
        step = record["step"]
        restarts += step <= newest
        newest = step
        if step in losses:
            steps += 1
            different += losses[step] != record["loss"]
        losses[step] = record["loss"]
    return Redone(restarts, steps, different)
