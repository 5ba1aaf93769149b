"""Stage 1 at the paper's scale on MVSEC.

eventsam train distill_mvsec --set data.root=CATALOG --set task.teacher.checkpoint=CONVERTED --gpus-per-worker 1

Grey frames of indoor_flying1-3 (validation: 4) with the masks of "barrel". Reads the entry `mvsec` of
datasets_catalog. `distill_sam3d` says what trains and how to use more GPUs.

EXPECTED COST, 200 epochs of 6000 frames: 6 GPU-hours of H100 or 19 of A100 at 40 % of their bf16 peak. The number of
frames is assumed (about 2000 in each sequence, fewer once those without a mask or with few events are left out): set
`budget.num_samples` to 200 times what the catalog holds.
"""

from eventsam.recipe import Recipe
from eventsam.recipes import distill_sam3d


def recipe() -> Recipe:
    """Return the recipe; the module says how to run it."""
    return distill_sam3d.recipe("mvsec", num_frames=6_000)
