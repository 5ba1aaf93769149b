"""Stage 1 at the paper's scale on RGBE-SEG.

eventsam train distill_rgbe_seg --set data.root=CATALOG --set task.teacher.checkpoint=CONVERTED --gpus-per-worker 1

DAVIS346 frames of VisEvent and COESOT with the masks of "person"; trains on the train list, validates on a part of it
and never on the test lists. Reads the entry `rgbe_seg` of datasets_catalog. `distill_sam3d` says what trains and how
to use more GPUs.

EXPECTED COST, 200 epochs of 66000 frames: 65 GPU-hours of H100 or 207 of A100 at 40 % of their bf16 peak. The number
of frames is assumed (what the reference states for the whole dataset): set `budget.num_samples` to 200 times what the
catalog holds.
"""

from eventsam.recipe import Recipe
from eventsam.recipes import distill_sam3d


def recipe() -> Recipe:
    """Return the recipe; the module says how to run it."""
    return distill_sam3d.recipe("rgbe_seg", num_frames=66_000)
