"""Small real parts that several tests build on."""

from pathlib import Path

from datasets_catalog.synthetic import DATASET
from eventsam.catalog import write_catalog
from eventsam.recipe import load_recipe
from eventsam.simulate.objects import render_object, shard_path
from eventsam.simulate.settings import RenderSettings
from eventsam.simulate.sources import procedural_sources
from eventsam.spec import Spec, replace

SETTINGS = RenderSettings(
    height=32, width=32, num_frames=52, samples_per_trajectory=2, occupancy_resolution=16, background="colour",
    split_fractions=(0.5, 0.25, 0.25),
)  # fmt: skip


def render_small(root: Path, num_objects: int = 8) -> Path:
    """Render a catalog of 32-pixel objects, as `eventsam catalog render` does."""
    for name, source in procedural_sources(num_objects).items():
        render_object(name, source, SETTINGS, shard_path(root, name))
    write_catalog(DATASET, root, {"settings": SETTINGS.to_json()})
    return root


def small_recipe(name: str, root: Path, **changes: object) -> Spec:
    """Return a recipe cut to the micro preset, 32 pixels and a grid of 8 cells."""
    recipe = load_recipe(name)
    settings: dict[str, object] = {"data.root": str(root), "budget.num_samples": 96, "budget.log_every": 1,
                                   "budget.global_batch_size": 12, "budget.checkpoint_every": 3}  # fmt: skip
    if name == "reconstruct":
        settings |= {"task.model.preset": "micro", "task.model.image_size": 32, "task.model.resolution": 8}
    if name == "distill":
        settings |= {"data.prepare.1.height": 32, "data.prepare.1.width": 32, "task.blocks": (0, 1, 2)}
    else:
        settings |= {"data.prepare.0.resolution": 8, "data.prepare.2.height": 32, "data.prepare.2.width": 32}
    if name == "fuse":
        settings |= {"task.fusion": "flamingo", "task.injection_blocks": (0, 2), "task.num_heads": 2}
    for path, value in (settings | changes).items():
        recipe = replace(recipe, path, value)
    return recipe
