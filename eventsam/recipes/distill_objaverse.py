"""Stage 1 at the paper's scale on Objaverse renderings with v2e events.

eventsam train distill_objaverse --set data.root=CATALOG --set task.teacher.checkpoint=CONVERTED --gpus-per-worker 1

Three instances each of seven kinds of objects (a fourth for validation), frames with more than 1500 events. Reads the
entry `objaverse_v2e` of datasets_catalog. `distill_sam3d` says what trains and how to use more GPUs.

EXPECTED COST, 200 epochs of 10000 frames: 10 GPU-hours of H100 or 31 of A100 at 40 % of their bf16 peak. The number of
frames is assumed (about 500 of each of 21 instances): set `budget.num_samples` to 200 times what the catalog holds.
"""

from eventsam.recipe import Recipe
from eventsam.recipes import distill_sam3d


def recipe() -> Recipe:
    """Return the recipe; the module says how to run it."""
    return distill_sam3d.recipe("objaverse_v2e", num_frames=10_000)
