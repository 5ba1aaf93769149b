"""Datasets: one module each, its file name the dataset's name, its `DATASET` what eventsam.dataset describes."""

import importlib
import pkgutil
from difflib import get_close_matches
from typing import cast

from eventsam.dataset import Dataset


def dataset_names() -> list[str]:
    """Return the names of all datasets."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_dataset(name: str) -> Dataset:
    """Return the dataset of a name.

    Raises:
        KeyError: there is no such dataset; the nearest name is given.
    """
    names = dataset_names()
    if name not in names:
        nearest = get_close_matches(name, names, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise KeyError(f"unknown dataset {name!r}{hint} (there are: {', '.join(names)})")
    return cast(Dataset, importlib.import_module(f"{__name__}.{name}").DATASET)
