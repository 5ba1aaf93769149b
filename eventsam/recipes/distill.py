"""Stage 1: the RGB embedder of a trained reconstructor teaches an event embedder; any recordings with frames do."""

from eventsam.engine import Budget, Monitor
from eventsam.objectives.distillation import FeatureLoss
from eventsam.optim import AdamW
from eventsam.recipe import Recipe
from eventsam.recipes import rendered_objects
from eventsam.spec import REQUIRED, spec
from eventsam.tasks.distill import Distill
from eventsam.tasks.trained import trained_rgb_embedder
from eventsam.transforms.crop import ObjectCrop
from eventsam.transforms.resize import Resize


def recipe() -> Recipe:
    """eventsam train distill --set data.root=CATALOG --set task.teacher.checkpoint=RUN.

    For real recordings: --set data.dataset=davis --set data.root=FOLDER.
    """
    return spec(
        Recipe,
        task=spec(
            Distill,
            teacher=spec(trained_rgb_embedder, checkpoint=REQUIRED),
            # Held out, plain L1 brings the projected tokens nearer (cosine 0.917, this 0.912, two seeds each), but what
            # is fused from them is no better. Pivotal weights, structure, event patches: cosine within 0.001 of this.
            objective=spec(FeatureLoss, projected_weight=2.0, normalise="layer"),
            blocks=(0, 1, 2, 3),
        ),
        data=rendered_objects(
            spec(ObjectCrop, scale=1.2, key="mask_blurry"),
            spec(Resize, height=64, width=64),
        ),
        optimizer=spec(AdamW, learning_rate=2e-3),
        budget=spec(Budget, num_samples=10_000, global_batch_size=8),
        monitor=spec(Monitor, metric="cosine"),
    )
