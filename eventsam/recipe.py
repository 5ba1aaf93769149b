"""A recipe is one fully stated run: task, data, optimiser, budget. Recipes are found by their file name."""

import hashlib
import importlib
import json
import pkgutil
from dataclasses import dataclass
from typing import cast

import eventsam.recipes
from eventsam.engine import Budget, Monitor
from eventsam.loading import Data
from eventsam.optim import AdamW
from eventsam.spec import Spec, to_json
from eventsam.tasks.task import Task
from eventsam.unknown_name import unknown_name


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome of a run."""

    task: Task
    data: Data
    optimizer: AdamW
    budget: Budget
    monitor: Monitor | None = None
    seed: int = 0


def recipe_names() -> list[str]:
    """Return the names of all recipes: the modules in eventsam/recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(eventsam.recipes.__path__))


def load_recipe(name: str) -> Spec:
    """Return the spec that `eventsam/recipes/<name>.py` states in its function `recipe`.

    Raises:
        KeyError: there is no such recipe; the nearest name is given.
    """
    names = recipe_names()
    if name not in names:
        raise KeyError(unknown_name("recipe", name, names))
    return cast(Spec, importlib.import_module(f"eventsam.recipes.{name}").recipe())


def recipe_hash(recipe: object) -> str:
    """Return a short hash of everything that a recipe's spec states."""
    return hashlib.sha256(json.dumps(to_json(recipe), sort_keys=True).encode()).hexdigest()[:12]
