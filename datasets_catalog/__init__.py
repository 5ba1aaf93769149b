"""Datasets: one module each, its file name the dataset's name, its `DATASET` what eventsam.dataset describes."""

import importlib
import pkgutil
from typing import cast

from eventsam.dataset import Dataset
from eventsam.unknown_name import unknown_name


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
        raise KeyError(f"{unknown_name('dataset', name, names)}: there is no datasets_catalog/{name}.py")
    return cast(Dataset, importlib.import_module(f"{__name__}.{name}").DATASET)
