"""Stage 2 on rendered objects: blurry RGB and events to the occupancy that sharp RGB gives; only the fusion trains."""

from eventsam.engine import Budget, Monitor
from eventsam.objectives.occupancy import OccupancyLoss
from eventsam.optim import AdamW
from eventsam.recipe import Recipe
from eventsam.recipes import rendered_objects
from eventsam.spec import REQUIRED, spec
from eventsam.tasks.fuse import Fuse
from eventsam.tasks.trained import trained_event_embedder, trained_reconstructor
from eventsam.transforms.align import AlignToView
from eventsam.transforms.crop import ObjectCrop
from eventsam.transforms.resize import Resize


def recipe() -> Recipe:
    """eventsam train fuse --set data.root=CATALOG and the checkpoints of both stages before.

    --set task.reconstructor.checkpoint=RUN --set task.event_embedder.checkpoint=RUN.
    """
    return spec(
        Recipe,
        task=spec(
            Fuse,
            reconstructor=spec(trained_reconstructor, checkpoint=REQUIRED),
            event_embedder=spec(trained_event_embedder, checkpoint=REQUIRED),
            objective=spec(OccupancyLoss, gamma=1.0, focal_weight=0.3),
            # The distilled event tokens mean the same as the projected RGB tokens, so that is where a short training
            # fuses them; --set task.injection_blocks=0,1,2,3 injects into the encoder instead.
            fusion="gated",
            injection_blocks="final",
        ),
        data=rendered_objects(
            spec(AlignToView, resolution=32),
            spec(ObjectCrop, scale=1.2, key="mask_blurry"),
            spec(Resize, height=64, width=64),
        ),
        optimizer=spec(AdamW, learning_rate=3e-3),
        budget=spec(Budget, num_samples=10_000, global_batch_size=8),
        monitor=spec(Monitor, metric="viou"),
    )
