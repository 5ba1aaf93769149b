"""What MLflow shows of a recipe: every value by its dotted path, and what differs from the recipe as it is named."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventsam.recipe import load_recipe, recipe_names
from eventsam.spec import REQUIRED, Spec, flatten


@dataclass(frozen=True)
class Change:
    """A value that a run states otherwise than its named recipe; None where one of them has no such value."""

    path: str
    default: Any
    value: Any


def changes_of(recipe: Spec, default: Spec) -> list[Change]:
    """Return what a recipe states otherwise than another one, sorted by path.

    Values that the default leaves to its user (folders, checkpoints) are given, not changed, and left out.
    """
    ours, theirs = flatten(recipe), flatten(default)
    return [
        Change(path, theirs.get(path), ours.get(path))
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path) and theirs.get(path) != REQUIRED
    ]


def nearest_recipe(recipe: Spec) -> tuple[str, list[Change]]:
    """Return the named recipe from which the given one differs least, and what is changed."""
    found = [(name, changes_of(recipe, load_recipe(name))) for name in recipe_names()]
    return min(found, key=lambda pair: len(pair[1]))


def parameters_of(recipe: Spec, changes: list[Change]) -> dict[str, Any]:
    """Return every value of a recipe by its path, and the changed ones once more under `changed.`."""
    changed = {f"changed.{change.path}": change.value for change in changes if change.value is not None}
    return flatten(recipe) | changed


def note_of(name: str, changes: list[Change], facts: Mapping[str, str]) -> str:
    """Return the description of a run's page: the recipe it is, what it changes, and where its files are."""
    lines = [f"Recipe `{name}`" + (", unchanged." if not changes else ", changed in:"), ""]
    if changes:
        lines += ["| value | recipe | this run |", "|---|---|---|"]
        lines += [f"| `{change.path}` | {_shown(change.default)} | {_shown(change.value)} |" for change in changes]
        lines += [""]
    return "\n".join(lines + [f"{key}: `{value}`  " for key, value in facts.items()])


def _shown(value: Any) -> str:
    return "–" if value is None else str(value).replace("|", "\\|")
