"""Sweep spaces, one module each with SPACE, METRIC, MODE and RECIPE; and what a space is made of, in plain values.

A parameter's drawn value is a label (text) or a number, so that it can stand in JSON, in tables and on axes; `changes`
turns it into what is changed in a recipe. Nothing here imports a search library: ray_jobs does, where one is asked for.
"""

import importlib
import itertools
import math
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from eventsam.spec import Spec, replace, to_json
from eventsam.unknown_name import unknown_name

Drawn = str | int | float
"""A parameter's value at one point of a space."""
Only = Mapping[str, tuple[str, ...]]
"""Other parameters' labels with which a parameter matters; elsewhere it changes nothing."""


@dataclass(frozen=True)
class Choice:
    """One of a few values of a recipe key; the labels are what the command line would take."""

    values: tuple[Any, ...]
    only: Only = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return each value as text."""
        return tuple(label_of(value) for value in self.values)

    def changes(self, key: str, drawn: Drawn) -> dict[str, Any]:
        """Return recipe path -> value for a label."""
        return {key: self.values[_index(self.labels, drawn, key)]}

    def draw(self, generator: np.random.Generator) -> Drawn:
        """Return one label, each as likely as the others."""
        return self.labels[int(generator.integers(len(self.values)))]

    def grid(self) -> tuple[Drawn, ...]:
        """Return all labels."""
        return self.labels


@dataclass(frozen=True)
class Options:
    """One of a few named sets of changes, where several keys only make sense together."""

    options: Mapping[str, Mapping[str, Any]]
    only: Only = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the sets."""
        return tuple(self.options)

    def changes(self, key: str, drawn: Drawn) -> dict[str, Any]:
        """Return recipe path -> value for a name."""
        return dict(self.options[self.labels[_index(self.labels, drawn, key)]])

    def draw(self, generator: np.random.Generator) -> Drawn:
        """Return one name, each as likely as the others."""
        return self.labels[int(generator.integers(len(self.options)))]

    def grid(self) -> tuple[Drawn, ...]:
        """Return all names."""
        return self.labels


@dataclass(frozen=True)
class Range:
    """A number between `low` and `high`, both included; `log` draws its logarithm evenly, `whole` rounds it.

    A grid search takes `num_grid` values, evenly spaced on the range's scale.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    num_grid: int = 3
    only: Only = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a range goes from a lower to a higher number, got {self.low} to {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0, got {self.low}")

    def at(self, share: float) -> Drawn:
        """Return the value at a share, 0 to 1, of the range's scale."""
        if self.log:
            value = math.exp((1 - share) * math.log(self.low) + share * math.log(self.high))
        else:
            value = (1 - share) * self.low + share * self.high
        value = min(max(value, self.low), self.high)
        # Three digits are enough to search by, and a command line stays readable.
        return round(value) if self.whole else float(f"{value:.3g}")

    def share_of(self, drawn: Drawn) -> float:
        """Return where a value lies on the range's scale, 0 to 1."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, float(drawn)))
        return (value - low) / (high - low)

    def changes(self, key: str, drawn: Drawn) -> dict[str, Any]:
        """Return recipe path -> number, as the recipe needs it."""
        return {key: int(drawn) if self.whole else float(drawn)}

    def draw(self, generator: np.random.Generator) -> Drawn:
        """Return one value, evenly on the range's scale."""
        return self.at(float(generator.random()))

    def grid(self) -> tuple[Drawn, ...]:
        """Return `num_grid` values, evenly spaced on the range's scale."""
        return tuple(self.at(share) for share in np.linspace(0, 1, max(2, self.num_grid)))


Parameter = Choice | Options | Range


@dataclass(frozen=True)
class Space:
    """A search space: parameter name (a recipe key, or a name of its own for `Options`) to what it may be."""

    name: str
    parameters: Mapping[str, Parameter]
    metric: str
    mode: Literal["max", "min"]
    recipe: str

    def changes(self, drawn: Mapping[str, Drawn]) -> dict[str, Any]:
        """Return recipe path -> value at one point; parameters that do not matter there are left out."""
        paths: dict[str, Any] = {}
        for key, parameter in self.parameters.items():
            if self.matters(key, drawn):
                paths |= parameter.changes(key, drawn[key])
        return paths

    def apply(self, recipe: Spec, drawn: Mapping[str, Drawn]) -> Spec:
        """Return the recipe at one point.

        Raises:
            KeyError, ValueError: a key or a value does not fit the recipe; the message names space and key.
        """
        for path, value in self.changes(drawn).items():
            try:
                recipe = replace(recipe, path, value)
            except (KeyError, ValueError, TypeError) as error:
                kind = KeyError if isinstance(error, KeyError) else ValueError
                raise kind(f"search space {self.name!r}: {error.args[0] if error.args else error}") from error
        return recipe

    def matters(self, key: str, drawn: Mapping[str, Drawn]) -> bool:
        """Say whether a parameter changes anything at a point."""
        return all(drawn[other] in labels for other, labels in self.parameters[key].only.items())

    def draw(self, generator: np.random.Generator) -> dict[str, Drawn]:
        """Return one random point; every parameter is drawn, so that points do not depend on each other's values."""
        return {key: parameter.draw(generator) for key, parameter in self.parameters.items()}

    def grid(self) -> Iterator[dict[str, Drawn]]:
        """Yield every point of the grid, the last parameter fastest."""
        for values in itertools.product(*(parameter.grid() for parameter in self.parameters.values())):
            yield dict(zip(self.parameters, values, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return the space as JSON-ready values, for the record of a sweep and for telling two apart."""
        rows = {key: _parameter_json(parameter) for key, parameter in self.parameters.items()}
        return {"name": self.name, "metric": self.metric, "mode": self.mode, "parameters": rows}

    def check(self, recipe: Spec) -> None:
        """Try every value of every parameter in the recipe, those of ranges at both ends.

        Raises:
            KeyError, ValueError: a key or a value does not fit; the message names space, key and nearest match.
        """
        first = {key: parameter.grid()[0] for key, parameter in self.parameters.items()}
        for key, parameter in self.parameters.items():
            for other, labels in parameter.only.items():
                self._check_only(key, other, labels)
            there = first | {other: labels[0] for other, labels in parameter.only.items()}
            drawn = parameter.grid()
            for value in (drawn[0], drawn[-1]) if isinstance(parameter, Range) else drawn:
                self.apply(recipe, there | {key: value})

    def _check_only(self, key: str, other: str, labels: Sequence[str]) -> None:
        if other not in self.parameters:
            raise KeyError(f"search space {self.name!r}, {key}: {unknown_name('parameter', other, self.parameters)}")
        known = self.parameters[other].grid()
        for label in labels:
            if label not in known:
                words = unknown_name(f"label of {other}", label, map(str, known))
                raise ValueError(f"search space {self.name!r}, {key}: {words}")


def label_of(value: Any) -> str:
    """Return a value as the command line writes it: `(5, 11)` is 5,11 and None is none."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(label_of(item) for item in value)
    return str(value)


def space_names() -> list[str]:
    """Return the names of all search spaces."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_space(name: str) -> Space:
    """Return the search space of a name.

    Raises:
        KeyError: there is no such space; the nearest name is given.
        ValueError: the module does not state all of SPACE, METRIC, MODE and RECIPE.
    """
    names = space_names()
    if name not in names:
        raise KeyError(unknown_name("search space", name, names))
    module = importlib.import_module(f"{__name__}.{name}")
    lacking = [word for word in ("SPACE", "METRIC", "MODE", "RECIPE") if not hasattr(module, word)]
    if lacking:
        raise ValueError(f"{module.__file__} does not state {', '.join(lacking)}")
    if module.MODE not in ("max", "min"):
        raise ValueError(f"{module.__file__}: MODE is {module.MODE!r}, allowed: max, min")
    return Space(name, module.SPACE, module.METRIC, module.MODE, module.RECIPE)


def _index(labels: Sequence[str], drawn: Drawn, key: str) -> int:
    if drawn not in labels:
        raise ValueError(unknown_name(f"value of {key}", str(drawn), labels))
    return labels.index(str(drawn))


def _parameter_json(parameter: Parameter) -> dict[str, Any]:
    only = {"only": {key: list(labels) for key, labels in parameter.only.items()}} if parameter.only else {}
    if isinstance(parameter, Choice):
        return {"choice": list(parameter.labels), **only}
    if isinstance(parameter, Options):
        return {"options": {label: to_json(changes) for label, changes in parameter.options.items()}, **only}
    kind = "log range" if parameter.log else "range"
    return {kind: [parameter.low, parameter.high], "whole": parameter.whole, "num_grid": parameter.num_grid, **only}
