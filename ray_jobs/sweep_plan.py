"""What a sweep is going to do: its points, each with its own effective recipe, and the checks before the start."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from datasets_catalog import load_dataset
from eventsam.catalog import Catalog, absolute, open_catalog
from eventsam.engine import to_device
from eventsam.loading import Data, make_loader
from eventsam.spec import REQUIRED, Spec, build, flatten, get, replace
from eventsam.tasks.task import Task
from eventsam.unknown_name import unknown_name
from ray_jobs.sweep_targets import KeptParts
from search_spaces import Drawn, Space

Scheduler = Literal["asha", "pbt", "hyperband", "fifo"]
Search = Literal["random", "grid", "optuna", "bohb"]
PAUSING: tuple[Scheduler, ...] = ("pbt", "hyperband")
"""Schedulers that put trials aside and take them up again."""
SEQUENTIAL: tuple[Search, ...] = ("optuna", "bohb")
"""Searches that choose a point by the results of those before."""
MUTABLE = ("optimizer.", "task.objective.")
"""Keys that population based training may change on the way: the weights keep their meaning."""


@dataclass(frozen=True)
class SweepOptions:
    """How a space is searched.

    `num_trials` 0 is 8, or all points of a grid. `num_samples` 0 leaves the recipe's own budget. A trial is validated
    about `num_validations` times, evenly, unless the recipe states `budget.validate_every`; nine of them let ASHA,
    which keeps one trial in `reduction`, decide after a ninth and a third of the budget.
    """

    num_trials: int = 0
    scheduler: Scheduler = "asha"
    search: Search = "random"
    num_seeds: int = 1
    num_samples: int = 0
    num_validations: int = 9
    search_seed: int = 0
    reduction: int = 3

    def __post_init__(self) -> None:
        if self.search == "bohb" and self.scheduler != "hyperband":
            raise ValueError(f"--search bohb belongs to --scheduler hyperband, got {self.scheduler}")
        if self.scheduler == "pbt" and self.search != "random":
            raise ValueError(f"--scheduler pbt starts from --search random, got {self.search}")
        for name in ("num_seeds", "num_validations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, allowed: 1 or more")
        if self.reduction < 2:
            raise ValueError(f"reduction is {self.reduction}, allowed: 2 or more")


@dataclass(frozen=True)
class Point:
    """One point of a space: what was drawn, the recipe that it means, and the earlier point that means the same."""

    name: str
    values: Mapping[str, Drawn]
    recipe: Spec
    hash: str
    same_as: str = ""


@dataclass(frozen=True)
class Plan:
    """All that is known before the first trial starts."""

    recipe_name: str
    recipe: Spec
    space: Space
    options: SweepOptions
    points: tuple[Point, ...]
    catalog_hash: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def trials(self) -> tuple[Point, ...]:
        """Return the points that are run: one of those that mean the same."""
        return tuple(point for point in self.points if not point.same_as)

    @property
    def num_trials(self) -> int:
        """Return how many trials there will be at most."""
        return num_trials(self.options) if self.options.search in SEQUENTIAL else len(self.trials)

    @property
    def max_samples(self) -> int:
        """Return the samples of the longest trial, in whole global batches."""
        recipes = [point.recipe for point in self.trials] or [budgeted(self.recipe, self.options)]
        return max(samples_of(recipe)[0] for recipe in recipes)

    @property
    def first_samples(self) -> int:
        """Return the samples of the first validation that every trial reports."""
        recipes = [point.recipe for point in self.trials] or [budgeted(self.recipe, self.options)]
        return max(samples_of(recipe)[1] for recipe in recipes)

    def values_of(self, name: str) -> Mapping[str, Drawn]:
        """Return the values drawn for a point of the plan, none for an unknown one."""
        return next((point.values for point in self.points if point.name == name), {})

    def point(self, values: Mapping[str, Drawn]) -> Point:
        """Return the point that values mean, without a name."""
        recipe = budgeted(self.space.apply(self.recipe, values), self.options)
        return Point("", dict(values), recipe, effective_hash(recipe))


def num_trials(options: SweepOptions) -> int:
    """Return how many trials are asked for, where the search itself does not say."""
    return options.num_trials or 8


def make_plan(recipe_name: str, recipe: Spec, space: Space, options: SweepOptions) -> Plan:
    """Draw the points and check each of them in the recipe.

    Raises:
        KeyError, ValueError: a key or a value does not fit the recipe, or there is nothing that the scheduler can vary.
    """
    root = get(recipe, "data.root")
    if root not in ("", REQUIRED):
        recipe = replace(recipe, "data.root", str(absolute(root)))
    space.check(recipe)
    if options.scheduler == "pbt" and not mutable_keys(space):
        raise ValueError(
            f"population based training changes optimiser and objective on the way, but search space {space.name!r} "
            f"holds neither (it holds: {', '.join(space.parameters)})"
        )
    plan = Plan(recipe_name, recipe, space, options, ())
    return dataclasses.replace(plan, points=tuple(_points(plan)))


def mutable_keys(space: Space) -> list[str]:
    """Return the parameters that population based training may change on the way."""
    return [key for key in space.parameters if key.startswith(MUTABLE)]


def budgeted(recipe: Spec, options: SweepOptions) -> Spec:
    """Return a point's recipe with the sweep's budget: so many samples, validated and saved so often."""
    if options.num_samples:
        recipe = replace(recipe, "budget.num_samples", options.num_samples)
    steps = math.ceil(get(recipe, "budget.num_samples") / get(recipe, "budget.global_batch_size"))
    every = get(recipe, "budget.validate_every") or max(1, round(steps / options.num_validations))
    recipe = replace(recipe, "budget.validate_every", every)
    # Where a scheduler may pause a trial or clone it, there is a checkpoint of that very step.
    return replace(recipe, "budget.checkpoint_every", every)


def samples_of(recipe: Spec) -> tuple[int, int]:
    """Return the samples of a whole trial and of its first validation, in whole global batches."""
    batch = get(recipe, "budget.global_batch_size")
    steps = math.ceil(get(recipe, "budget.num_samples") / batch)
    return steps * batch, min(steps, get(recipe, "budget.validate_every")) * batch


def effective_hash(recipe: Spec) -> str:
    """Return a short hash of everything a recipe states, its defaults included: equal for equal runs."""
    rows = {path: _plain(value) for path, value in flatten(recipe).items()}
    return hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()[:12]


def check_builds(plan: Plan) -> tuple[Plan, Catalog]:
    """Open the catalog, build every different task and data of the plan, and measure one sample.

    Returns the plan with what was learnt, and the catalog.

    Raises:
        ValueError, KeyError, FileNotFoundError: a part cannot be built, or there is no such metric; the point is named.
    """
    recipes = [(point.name, point.recipe) for point in plan.trials] or [
        ("the recipe", budgeted(plan.recipe, plan.options))
    ]
    parts, seen, catalog = KeptParts(), set[str](), None
    for name, recipe in recipes:
        key = json.dumps(sorted(f"{k}={v}" for k, v in flatten(recipe).items() if k.startswith(("task", "data"))))
        if key in seen:
            continue
        try:
            catalog, counts = _check_build(recipe, parts, catalog, plan.space if not seen else None)
        except (ValueError, KeyError, FileNotFoundError) as error:
            drawn = plan.values_of(name)
            where = f"point {name} ({words(plan.space, drawn)})" if drawn else name
            text = error.args[0] if isinstance(error, KeyError) and error.args else error
            kind = next(kind for kind in (KeyError, FileNotFoundError, ValueError) if isinstance(error, kind))
            raise kind(f"{where}: {text}") from error
        seen.add(key)
    assert catalog is not None
    facts = {"training samples": str(counts[0]), "validation samples": str(counts[1])}
    return dataclasses.replace(plan, catalog_hash=catalog.hash, facts=facts), catalog


def _check_build(
    recipe: Spec, parts: KeptParts, catalog: Catalog | None, space: Space | None
) -> tuple[Catalog, list[int]]:
    """Build a recipe's task and data; with a space, measure one sample to know that its metric exists."""
    task: Task = parts.build(recipe.arguments["task"])
    data: Data = build(recipe.arguments["data"], "data")
    dataset = load_dataset(data.dataset)
    catalog = catalog or open_catalog(dataset, Path(data.root))
    loaders = [make_loader(dataset, catalog, data, task.reads, seed=0, training=t) for t in (True, False)]
    batch = loaders[1].batch(np.arange(1))
    if space is not None:
        _check_metric(space, task, batch)
    return catalog, [loader.order.num_samples for loader in loaders]


def words(space: Space, values: Mapping[str, Drawn]) -> str:
    """Return a point's values as people read them; those that do not matter there are left out."""
    return ", ".join(f"{key}={value}" for key, value in values.items() if space.matters(key, values))


def _check_metric(space: Space, task: Task, batch: Mapping[str, Any]) -> None:
    with torch.no_grad():
        metrics = task.eval().evaluate(to_device(batch, torch.device("cpu")))
    if space.metric not in metrics:
        raise KeyError(unknown_name(f"metric of {type(task).__name__}", space.metric, metrics))


def _points(plan: Plan) -> list[Point]:
    """Return the points of a search that needs no results; of those that mean the same, all but one are marked."""
    options, space = plan.options, plan.space
    if options.search in SEQUENTIAL:
        return []
    points: list[Point] = []
    known: dict[str, str] = {}
    if options.search == "grid":
        draws: Sequence[dict[str, Drawn]] = list(space.grid())
        if options.num_trials and len(draws) > options.num_trials:
            raise ValueError(
                f"the grid of {space.name!r} has {len(draws)} points, --trials allows {options.num_trials}: leave "
                "--trials away, or use --search random"
            )
    else:
        generator = np.random.default_rng(options.search_seed)
        draws = [space.draw(generator) for _ in range(20 * num_trials(options))]
    for values in draws:
        if options.search == "random" and len(known) == num_trials(options):
            break
        point = plan.point(values)
        name = f"p{len(points):03d}"
        points.append(dataclasses.replace(point, name=name, same_as=known.get(point.hash, "")))
        known.setdefault(point.hash, name)
    return points


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return float(value)
