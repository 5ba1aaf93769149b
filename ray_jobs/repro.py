"""What a failure bundle needs of its surroundings: its recipe built as the workers built it, its catalog opened."""

from collections.abc import Callable
from pathlib import Path

import torch

from datasets_catalog import load_dataset
from eventsam.catalog import open_catalog
from eventsam.faults.bundle import Bundle
from eventsam.loading import Loader, make_loader
from eventsam.recipe import Recipe
from eventsam.spec import build


def recipe_builder(bundle: Bundle) -> Callable[[], Recipe]:
    """Return what seeds and builds the bundle's recipe."""

    def build_recipe() -> Recipe:
        torch.manual_seed(bundle.recipe.arguments.get("seed", 0))
        recipe: Recipe = build(bundle.recipe)
        return recipe

    return build_recipe


def training_loader(bundle: Bundle, root: Path | None) -> tuple[Loader | None, str | None]:
    """Return the run's training samples, or None and why they cannot be had.

    Raises:
        ValueError: the catalog that was given is not the run's.
    """
    recipe = recipe_builder(bundle)()
    dataset = load_dataset(recipe.data.dataset)
    try:
        catalog = open_catalog(dataset, root or Path(recipe.data.root))
        loader = make_loader(dataset, catalog, recipe.data, recipe.task.reads, seed=recipe.seed, training=True)
    except (ValueError, OSError) as error:
        if root is not None:
            raise
        return None, str(error)
    if loader.catalog.hash != bundle.catalog_hash:
        if root is not None:
            raise ValueError(f"{root} is not the catalog of the failing run: its content differs")
        return None, "its content has changed since"
    return loader, None
