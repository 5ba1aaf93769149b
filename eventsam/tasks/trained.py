"""Parts of finished runs, for the stages that build on them."""

from pathlib import Path
from typing import TypeVar

from torch import nn

from eventsam import checkpoint
from eventsam.models.embedder import ImageEmbedder
from eventsam.models.reconstructor import Reconstructor
from eventsam.models.sam3d.folder import JSON_NAME
from eventsam.models.sam3d.model import Sam3d, build_sam3d
from eventsam.models.sam3d.rgb_embedder import rgb_embedder_of
from eventsam.models.sam3d.vae import OccupancyVae
from eventsam.spec import Spec, build
from eventsam.tasks.task import Task

Part = TypeVar("Part", bound=nn.Module)


def resolve(path: str | Path) -> Path:
    """Return the checkpoint folder that a path means: itself, or the best (else newest) one of a run's folder.

    Raises:
        FileNotFoundError: there is none.
    """
    folder = Path(path)
    if (folder / "state.json").exists():
        return folder
    for root in (folder, folder / "checkpoints"):
        found = checkpoint.chosen(root)
        if found is not None:
            return found
    raise FileNotFoundError(f"no checkpoint at {folder}: neither state.json nor checkpoints/step_* is there")


def trained_task(path: str | Path) -> Task:
    """Rebuild a run's task and load its trained weights."""
    folder = resolve(path)
    recipe: Spec = checkpoint.read_state(folder).recipe
    task: Task = build(recipe.arguments["task"])
    checkpoint.load_task(folder, task)
    return task


def trained_reconstructor(checkpoint: str | Path) -> Reconstructor:
    """Return the reconstructor that stage 0 trained."""
    return _part(checkpoint, "model", Reconstructor)


def trained_rgb_embedder(checkpoint: str | Path) -> ImageEmbedder:
    """Return the RGB embedder inside the model that stage 0 trained, a reconstructor or a SAM-3D-shaped model."""
    model = getattr(task := trained_task(checkpoint), "model", None)
    if isinstance(model, Sam3d):
        return rgb_embedder_of(model.embedder)
    if isinstance(model, Reconstructor):
        return ImageEmbedder(model.encoder, model.projection)
    raise ValueError(f"the run at {checkpoint} trained a {type(task).__name__}, which has no RGB embedder")


def trained_occupancy_vae(checkpoint: str | Path) -> OccupancyVae:
    """Return the autoencoder whose latents a generator learns."""
    return _part(checkpoint, "model", OccupancyVae)


def trained_sam3d(checkpoint: str | Path) -> Sam3d:
    """Return the SAM-3D-shaped model of a stage-0 run, or of the folder that `eventsam convert sam3d` wrote."""
    if (Path(checkpoint) / JSON_NAME).exists():
        return build_sam3d(checkpoint=checkpoint)
    return _part(checkpoint, "model", Sam3d)


def trained_event_embedder(checkpoint: str | Path) -> ImageEmbedder:
    """Return the event embedder that stage 1 distilled."""
    return _part(checkpoint, "student", ImageEmbedder)


def _part(path: str | Path, name: str, kind: type[Part]) -> Part:
    task = trained_task(path)
    part = getattr(task, name, None)
    if not isinstance(part, kind):
        raise ValueError(f"the run at {path} trained a {type(task).__name__}, which has no {kind.__name__} {name!r}")
    return part
