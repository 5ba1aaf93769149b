"""Stage 1 at the paper's scale: SAM 3D's image encoder (ViT-L/14, registers, 518 pixels) teaches an event encoder.

eventsam train distill_sam3d --set data.dataset=NAME --set data.root=CATALOG --set task.teacher.checkpoint=CONVERTED
    --gpus-per-worker 1

CONVERTED is what `eventsam convert sam3d` wrote. 4 samples per GPU: with G GPUs, `--workers G` and
`--set budget.global_batch_size=4G`. 76.4 M of the student's 313 M parameters train: the patch embedding, the MLPs of
eight blocks, the projection.

EXPECTED COST: 7.0 TFLOP per sample (crop and full view: teacher forward, student forward and backward), so for 200
epochs of 10 000 frames 9.9 GPU-hours of H100 or 31 of A100 at 40 % of their bf16 peak (989 and 312 TFLOP/s). Memory:
about 15 GB for 4 samples (3.4 GB of weights, gradients and moments, 1.2 GB of activations per view, casts).
"""

from eventsam.engine import Budget, Monitor
from eventsam.loading import Data
from eventsam.models.sam3d.rgb_embedder import sam3d_rgb_embedder
from eventsam.objectives.distillation import FeatureLoss
from eventsam.optim import AdamW
from eventsam.recipe import Recipe
from eventsam.representations.tencode import Tencode
from eventsam.spec import REQUIRED, spec
from eventsam.tasks.distill import Distill
from eventsam.transforms.crop import ObjectCrop
from eventsam.transforms.flip import HorizontalFlip
from eventsam.transforms.full_view import FullView
from eventsam.transforms.resize import Resize
from eventsam.windows import Window

NUM_EPOCHS = 200


def recipe(dataset: str = REQUIRED, num_frames: int = 10_000, length_ms: float = 50.0) -> Recipe:
    """Return the recipe for a dataset of `num_frames` training frames, with event windows of `length_ms`."""
    per_epoch = num_frames // 4
    return spec(
        Recipe,
        task=spec(
            Distill,
            teacher=spec(sam3d_rgb_embedder, checkpoint=REQUIRED),
            objective=spec(FeatureLoss, projected_weight=2.0, normalise="layer"),
            blocks=(2, 5, 8, 11, 14, 17, 20, 23),
            views=("crop", "full"),
        ),
        data=spec(
            Data,
            dataset=dataset,
            root=REQUIRED,
            window=spec(Window, length_ms=length_ms),
            representation=spec(Tencode),
            augment=(spec(HorizontalFlip),),
            prepare=(
                spec(FullView, height=518, width=518),
                spec(ObjectCrop, scale=1.2),
                spec(Resize, height=518, width=518),
            ),
            max_bad_share=0.01,
        ),
        optimizer=spec(AdamW, learning_rate=5e-5, weight_decay=0.0, betas=(0.9, 0.999), clip_norm=1.0),
        budget=spec(
            Budget,
            num_samples=NUM_EPOCHS * num_frames,
            global_batch_size=4,
            validate_every=per_epoch,
            checkpoint_every=per_epoch,
            patience=20,
            precision="bfloat16",
        ),
        monitor=spec(Monitor, metric="cosine"),
    )
