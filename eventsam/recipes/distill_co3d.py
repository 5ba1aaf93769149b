"""Stage 1 at the paper's scale on CO3D with v2e events.

eventsam train distill_co3d --set data.root=CATALOG --set task.teacher.checkpoint=CONVERTED --gpus-per-worker 1

18 categories, masks from 200 pixels to 90 % of the image; "toaster" is for validation on unseen objects alone. Reads
the entry `co3d_v2e` of datasets_catalog. `distill_sam3d` says what trains and how to use more GPUs.

EXPECTED COST, 200 epochs of 20000 frames: 20 GPU-hours of H100 or 63 of A100 at 40 % of their bf16 peak. The number
of frames is assumed (about 200 in each of 100 sequences): set `budget.num_samples` to 200 times what the catalog
holds.
"""

from eventsam.recipe import Recipe
from eventsam.recipes import distill_sam3d


def recipe() -> Recipe:
    """Return the recipe; the module says how to run it."""
    return distill_sam3d.recipe("co3d_v2e", num_frames=20_000)
