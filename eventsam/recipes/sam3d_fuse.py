"""Stage 2 for a SAM-3D-shaped model on rendered objects: only the fusion trains, towards what sharp RGB gives."""

from eventsam.engine import Budget, Monitor
from eventsam.models.sam3d.fusing import Fusing
from eventsam.models.sam3d.latents import SHAPE_ONLY
from eventsam.objectives.generation import Direct
from eventsam.objectives.occupancy import OccupancyLoss
from eventsam.optim import AdamW
from eventsam.recipe import Recipe
from eventsam.recipes import rendered_objects
from eventsam.spec import REQUIRED, spec
from eventsam.tasks.sam3d_fuse import FuseLatents
from eventsam.tasks.sam3d_inputs import Shown
from eventsam.tasks.trained import trained_event_embedder, trained_sam3d
from eventsam.transforms.align import AlignToView


def recipe() -> Recipe:
    """eventsam train sam3d_fuse --set data.root=CATALOG and the checkpoints of both stages before.

    --set task.model.checkpoint=RUN of sam3d_generate --set task.events.checkpoint=RUN of distill.
    """
    return spec(
        Recipe,
        task=spec(
            FuseLatents,
            model=spec(trained_sam3d, checkpoint=REQUIRED),
            events=spec(trained_event_embedder, checkpoint=REQUIRED),
            shown=spec(Shown),
            fusing=spec(Fusing, fusion="gated", place="tokens"),
            objective=spec(
                Direct, num_steps=2, occupancy=spec(OccupancyLoss, gamma=1.0, focal_weight=0.3), weights=SHAPE_ONLY
            ),
        ),
        data=rendered_objects(spec(AlignToView, resolution=32)),
        optimizer=spec(AdamW, learning_rate=3e-3),
        budget=spec(Budget, num_samples=10_000, global_batch_size=8),
        monitor=spec(Monitor, metric="viou"),
    )
