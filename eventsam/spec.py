"""A constructor call written down: recorded, checked, changed by name, flattened, and rebuilt from JSON."""

import dataclasses
import importlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, ParamSpec, TypeVar, Union, cast, get_args, get_origin

from eventsam.unknown_name import unknown_name

P = ParamSpec("P")
T = TypeVar("T")

REQUIRED = "<required>"
"""Stands for a value that a recipe leaves to its user, such as a folder; building the spec refuses it."""

ALLOWED_PACKAGE = "eventsam"
"""Rebuilding from JSON imports from this package alone."""

CALL_STARTS = ('{"call":', '[{"call":')
"""How a string begins that states a call, or several, as `to_json` writes them: `--set` can name those too."""


@dataclass(frozen=True)
class Spec:
    """A recorded call: `target(**arguments)`, where arguments may hold specs themselves."""

    target: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parameters = signature(self.target).parameters
        for name in self.arguments:
            if name not in parameters:
                raise KeyError(unknown_name(f"argument of {self.target.__qualname__}", name, parameters))


def spec(target: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Record `target(*args, **kwargs)` instead of calling it.

    Typed to return what the call would return, so that type checkers verify nested keywords.

    Raises:
        TypeError: an argument is unknown (nearest match named) or a required one is missing.
    """
    try:
        bound = signature(target).bind(*args, **kwargs)
    except TypeError as error:
        unknown = [name for name in kwargs if name not in signature(target).parameters]
        hint = f" ({unknown_name('argument', unknown[0], signature(target).parameters)})" if unknown else ""
        raise TypeError(f"{target.__qualname__}: {error}{hint}") from None
    return cast(T, Spec(target, dict(bound.arguments)))


@cache
def signature(target: Callable[..., Any]) -> inspect.Signature:
    """Return the call signature of a class or function; a dataclass's made defaults show as the value made."""
    found = inspect.signature(target)
    if not dataclasses.is_dataclass(target):
        return found
    made = {
        entry.name: entry.default_factory()
        for entry in dataclasses.fields(target)
        if entry.default_factory is not dataclasses.MISSING
    }
    return found.replace(
        parameters=[
            parameter.replace(default=made[name]) if name in made else parameter
            for name, parameter in found.parameters.items()
        ]
    )


@cache
def _annotations(target: Callable[..., Any]) -> Mapping[str, Any]:
    holder = target.__init__ if inspect.isclass(target) else target
    return typing.get_type_hints(holder)


def build(node: Any, path: str = "") -> Any:
    """Make real what a spec describes, innermost calls first.

    Raises:
        ValueError: a value is still `REQUIRED`; the message names its path.
    """
    if isinstance(node, Spec):
        arguments = {name: build(value, _join(path, name)) for name, value in node.arguments.items()}
        return node.target(**arguments)
    if isinstance(node, str) and node == REQUIRED:
        raise ValueError(f"{path} is required: give it with --set {path}=VALUE")
    if isinstance(node, Mapping):
        return {name: build(value, _join(path, name)) for name, value in node.items()}
    if isinstance(node, tuple | list):
        return tuple(build(value, _join(path, str(index))) for index, value in enumerate(node))
    return node


def get(node: Any, path: str) -> Any:
    """Return the value at a dotted path, defaults included."""
    for name in path.split("."):
        node = _child(node, name, path)
    return node


def replace(node: T, path: str, value: Any) -> T:
    """Return a copy of a spec with the value at a dotted path changed.

    A string is read as the parameter's type (`"5,11"` for a tuple of integers), as the command line needs.

    Raises:
        KeyError: no such path; the nearest name is given.
        ValueError: the value does not fit the parameter's type.
    """
    return cast(T, _replace(node, path.split("."), value, path))


def _replace(node: Any, names: Sequence[str], value: Any, path: str) -> Any:
    name, rest = names[0], names[1:]
    current = _child(node, name, path)
    if rest:
        changed = _replace(current, rest, value, path)
    elif isinstance(node, Spec):
        changed = _coerce(value, _annotations(node.target).get(name, Any), path)
    else:
        changed = _coerce(value, type(current) if current is not None else Any, path)
    if isinstance(node, Spec):
        return Spec(node.target, {**node.arguments, name: changed})
    if isinstance(node, Mapping):
        return {**node, name: changed}
    return tuple(changed if index == int(name) else item for index, item in enumerate(node))


def _child(node: Any, name: str, path: str) -> Any:
    if isinstance(node, Spec):
        parameters = signature(node.target).parameters
        if name not in parameters:
            raise KeyError(unknown_name(f"name in {path!r}: {node.target.__qualname__} has no", name, parameters))
        return node.arguments.get(name, parameters[name].default)
    if isinstance(node, Mapping):
        if name not in node:
            raise KeyError(unknown_name(f"name in {path!r}:", name, node))
        return node[name]
    if isinstance(node, tuple | list) and name.isdigit() and int(name) < len(node):
        return node[int(name)]
    raise KeyError(f"{path!r}: {name!r} leads into a plain value ({node!r})")


def _coerce(value: Any, annotation: Any, path: str) -> Any:
    """Read a value (often a command-line string) as its parameter's type."""
    if isinstance(value, Spec) or annotation is Any or value == REQUIRED:
        return value
    if isinstance(value, str) and value.startswith(CALL_STARTS):
        return from_json(json.loads(value))
    origin, options = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _coerce_union(value, options, path)
    if origin is Literal:
        if value in options:
            return value
        raise ValueError(f"{path}: {value!r} is not allowed (allowed: {', '.join(map(str, options))})")
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        return _coerce_sequence(value, options, path)
    if isinstance(annotation, type) and annotation in (tuple, list) and isinstance(value, str):
        return _coerce_sequence(value, (Any,), path)
    return _coerce_scalar(value, annotation, path)


def _coerce_union(value: Any, options: tuple[Any, ...], path: str) -> Any:
    if type(None) in options and value in (None, "none", "None"):
        return None
    for option in options:
        if option is not type(None):
            try:
                return _coerce(value, option, path)
            except ValueError:
                continue
    raise ValueError(f"{path}: {value!r} fits none of {', '.join(map(str, options))}")


def _coerce_sequence(value: Any, options: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    items = [part for part in value.split(",") if part] if isinstance(value, str) else value
    if not isinstance(items, Sequence):
        raise ValueError(f"{path}: {value!r} is no sequence; write items with commas, as in 5,11")
    return tuple(_coerce(item, options[0] if options else Any, path) for item in items)


def _coerce_scalar(value: Any, annotation: Any, path: str) -> Any:
    if annotation is bool:
        words = {"true": True, "false": False, "1": True, "0": False}
        if isinstance(value, bool):
            return value
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise ValueError(f"{path}: {value!r} is no bool (allowed: true, false)")
    if annotation in (int, float):
        if isinstance(value, bool):
            raise ValueError(f"{path}: {value!r} is no {annotation.__name__}")
        try:
            number = float(value)
            return annotation(value) if annotation is float or isinstance(value, str) else _whole(number, path)
        except (TypeError, ValueError):
            raise ValueError(f"{path}: {value!r} is no {annotation.__name__}") from None
    if annotation is str and not isinstance(value, str):
        raise ValueError(f"{path}: {value!r} is no text")
    if isinstance(value, str) and isinstance(annotation, type) and annotation is not str:
        raise ValueError(f"{path}: {value!r} is text, but a {annotation.__name__} is expected here")
    return value


def _whole(number: float, path: str) -> int:
    if number != int(number):
        raise ValueError(f"{path}: {number} is no whole number")
    return int(number)


def flatten(node: Any, path: str = "") -> dict[str, Any]:
    """Return dotted path -> plain value for everything a spec states, defaults included; calls appear by name."""
    if isinstance(node, Spec):
        rows: dict[str, Any] = {path: node.target.__qualname__} if path else {}
        for name, parameter in signature(node.target).parameters.items():
            rows |= flatten(node.arguments.get(name, parameter.default), _join(path, name))
        return rows
    if isinstance(node, Mapping) and node:
        return {key: value for name, item in node.items() for key, value in flatten(item, _join(path, name)).items()}
    if isinstance(node, tuple | list) and any(isinstance(item, Spec) for item in node):
        return {k: v for index, item in enumerate(node) for k, v in flatten(item, _join(path, str(index))).items()}
    return {path: list(node) if isinstance(node, tuple) else node}


def differences(first: Any, second: Any) -> list[str]:
    """Return one line per flattened value that two specs do not share."""
    left, right = flatten(first), flatten(second)
    names = sorted(left.keys() | right.keys())
    return [
        f"{name}: {left.get(name, '(absent)')} -> {right.get(name, '(absent)')}"
        for name in names
        if left.get(name) != right.get(name)
    ]


def to_json(node: Any) -> Any:
    """Return a spec as JSON-ready values; calls become `{"call": "module:name", "arguments": {...}}`."""
    if isinstance(node, Spec):
        call = f"{node.target.__module__}:{node.target.__qualname__}"
        return {"call": call, "arguments": {name: to_json(value) for name, value in node.arguments.items()}}
    if isinstance(node, Mapping):
        return {str(name): to_json(value) for name, value in node.items()}
    if isinstance(node, tuple | list):
        return [to_json(value) for value in node]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"{node!r} ({type(node).__name__}) cannot be written to JSON; wrap it in spec(...)")


def from_json(node: Any) -> Any:
    """Rebuild a spec from `to_json`'s values.

    Raises:
        ValueError: a call lies outside the `eventsam` package or names something private.
    """
    if isinstance(node, Mapping) and node.keys() == {"call", "arguments"}:
        arguments = {name: from_json(value) for name, value in node["arguments"].items()}
        return Spec(_resolve(node["call"]), arguments)
    if isinstance(node, Mapping):
        return {name: from_json(value) for name, value in node.items()}
    if isinstance(node, list):
        return tuple(from_json(value) for value in node)
    return node


def _resolve(call: str) -> Callable[..., Any]:
    module_name, _, qualname = call.partition(":")
    parts = [*module_name.split("."), *qualname.split(".")]
    if parts[0] != ALLOWED_PACKAGE or any(not part or part.startswith("_") for part in parts):
        raise ValueError(f"refusing to import {call!r}: only public names of {ALLOWED_PACKAGE} are allowed")
    target: Any = importlib.import_module(module_name)
    for name in qualname.split("."):
        target = getattr(target, name)
    # A module such as eventsam.spec also holds names that it imported; those are not its own to offer.
    if getattr(target, "__module__", "").split(".")[0] != ALLOWED_PACKAGE or not callable(target):
        raise ValueError(f"refusing to call {call!r}: it is not defined in {ALLOWED_PACKAGE}")
    return cast(Callable[..., Any], target)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
