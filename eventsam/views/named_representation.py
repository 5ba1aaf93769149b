"""A representation by the name of its file, with its own defaults: what `--representation` takes."""

import importlib
import inspect
import pkgutil
from typing import Any, cast

import eventsam.representations
from eventsam.representations import Representation
from eventsam.unknown_name import unknown_name


def representation_names() -> list[str]:
    """Return the names of the modules of `eventsam.representations` that define a class of their own name."""
    found = pkgutil.iter_modules(eventsam.representations.__path__)
    return sorted(module.name for module in found if not module.ispkg and _class_of(module.name) is not None)


def named_representation(name: str) -> Representation:
    """Build the representation of a name with its defaults; raise ValueError with the nearest known name."""
    names = representation_names()
    if name not in names:
        raise ValueError(unknown_name("representation", name, names))
    return cast(Representation, _class_of(name)())


def _class_of(name: str) -> Any:
    module = importlib.import_module(f"eventsam.representations.{name}")
    found = getattr(module, "".join(part.capitalize() for part in name.split("_")), None)
    return found if callable(getattr(found, "to_rgb", None)) and not inspect.isabstract(found) else None
