"""Stage 0 for the tiny SAM-3D-shaped model: sharp RGB and a mask's box to shape latents; makes the teacher."""

from eventsam.engine import Budget, Monitor
from eventsam.models.sam3d.latents import SHAPE_ONLY
from eventsam.models.sam3d.model import build_sam3d
from eventsam.objectives.generation import ShortcutMatching
from eventsam.optim import AdamW
from eventsam.recipe import Recipe
from eventsam.recipes import rendered_objects
from eventsam.spec import REQUIRED, spec
from eventsam.tasks.sam3d_generate import GenerateOccupancy
from eventsam.tasks.trained import trained_occupancy_vae
from eventsam.transforms.align import AlignToView


def recipe() -> Recipe:
    """eventsam train sam3d_generate --set data.root=CATALOG --set task.vae.checkpoint=RUN of occupancy_vae."""
    return spec(
        Recipe,
        task=spec(
            GenerateOccupancy,
            model=spec(build_sam3d, preset="tiny"),
            vae=spec(trained_occupancy_vae, checkpoint=REQUIRED),
            objective=spec(ShortcutMatching, weights=SHAPE_ONLY),
            silhouette_weight=1.0,
        ),
        # The model cuts crops from whole frames itself; the resolution is the preset's.
        data=rendered_objects(spec(AlignToView, resolution=32)),
        optimizer=spec(AdamW, learning_rate=2e-3),
        budget=spec(Budget, num_samples=20_000, global_batch_size=8),
        monitor=spec(Monitor, metric="viou"),
    )
