"""Stage 0 on rendered objects: sharp RGB and a mask to occupancy; the teacher of the later stages."""

from eventsam.engine import Budget, Monitor
from eventsam.models.reconstructor import build_reconstructor
from eventsam.objectives.occupancy import OccupancyLoss
from eventsam.optim import AdamW
from eventsam.recipe import Recipe
from eventsam.recipes import rendered_objects
from eventsam.spec import spec
from eventsam.tasks.reconstruct import Reconstruct
from eventsam.transforms.align import AlignToView
from eventsam.transforms.crop import ObjectCrop
from eventsam.transforms.resize import Resize


def recipe() -> Recipe:
    """eventsam train reconstruct --set data.root=CATALOG."""
    return spec(
        Recipe,
        task=spec(
            Reconstruct,
            model=spec(build_reconstructor, mask_prompt="box"),
            objective=spec(OccupancyLoss, gamma=1.0, focal_weight=0.3),
            # The prompt is what a blurry frame would give: the outline must come from the image.
            mask="mask_blurry",
            silhouette_weight=1.0,
        ),
        data=rendered_objects(
            spec(AlignToView, resolution=32),
            spec(ObjectCrop, scale=1.2, key="mask_blurry"),
            spec(Resize, height=64, width=64),
        ),
        optimizer=spec(AdamW, learning_rate=2e-3),
        budget=spec(Budget, num_samples=20_000, global_batch_size=8),
        monitor=spec(Monitor, metric="viou"),
    )
