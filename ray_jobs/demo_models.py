"""The models that the demo can be run with: their stages in order, and what each stage builds on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eventsam.recipe import load_recipe
from eventsam.representations.blank import Blank
from eventsam.spec import Spec, replace, spec
from eventsam.transforms.crop import ObjectCrop
from eventsam.transforms.full_view import FullView
from eventsam.transforms.resize import Resize
from eventsam.unknown_name import unknown_name

CONTROL, FUSE = "control", "fuse"
"""The last stages of every model: the fusion, and the same without events."""


@dataclass(frozen=True)
class Stage:
    """One training: its recipe, the parameters that take an earlier stage's run, further changes, its samples."""

    recipe: str
    num_samples: int
    num_samples_quick: int
    parts: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)

    def stated(self, folder: Path, seed: int, num_samples: int) -> Spec:
        """Return the recipe for a demo in `folder`."""
        recipe = load_recipe(self.recipe)
        changes = {"data.root": str(folder / "catalog"), "budget.num_samples": num_samples, "seed": seed}
        changes |= {path: str(folder / stage) for path, stage in self.parts.items()}
        for path, value in (changes | dict(self.changes)).items():
            recipe = replace(recipe, path, value)
        return recipe


_FUSE_PARTS = {"task.reconstructor.checkpoint": "reconstruct", "task.event_embedder.checkpoint": "distill"}
_WITHOUT_EVENTS = {"data.representation": spec(Blank)}
_SAM3D_PARTS = {"task.model.checkpoint": "generate", "task.events.checkpoint": "distill"}
_BOTH_VIEWS = {
    "task.views": ("crop", "full"),
    "data.prepare": (
        spec(FullView, height=64, width=64),
        spec(ObjectCrop, scale=1.2, key="mask_blurry"),
        spec(Resize, height=64, width=64),
    ),
}

MODELS: Mapping[str, Mapping[str, Stage]] = {
    "reconstructor": {
        "reconstruct": Stage("reconstruct", 11_000, 2_600),
        "distill": Stage("distill", 5_000, 1_200, {"task.teacher.checkpoint": "reconstruct"}),
        FUSE: Stage("fuse", 3_600, 600, _FUSE_PARTS),
        CONTROL: Stage("fuse", 3_600, 600, _FUSE_PARTS, _WITHOUT_EVENTS),
    },
    "sam3d_tiny": {
        "autoencode": Stage("occupancy_vae", 1_600, 800),
        "generate": Stage("sam3d_generate", 11_000, 3_500, {"task.vae.checkpoint": "autoencode"}),
        "distill": Stage("distill", 5_000, 1_600, {"task.teacher.checkpoint": "generate"}, _BOTH_VIEWS),
        FUSE: Stage("sam3d_fuse", 3_600, 800, _SAM3D_PARTS),
        # Blank images count as events here: a control that always fell back to RGB would learn nothing.
        CONTROL: Stage("sam3d_fuse", 3_600, 800, _SAM3D_PARTS, _WITHOUT_EVENTS | {"task.shown.blank_counts": True}),
    },
}
"""Demo models by name; the first is the default."""


def check_model(name: str) -> Mapping[str, Stage]:
    """Return a model's stages, or raise ValueError with the nearest name."""
    if name not in MODELS:
        raise ValueError(unknown_name("demo model", name, MODELS))
    return MODELS[name]
