"""Stage 1 at the paper's scale on EventReplica.

eventsam train distill_event_replica --set data.root=CATALOG --set task.teacher.checkpoint=CONVERTED --gpus-per-worker 1

Rooms office0, 1, 3, 4 and room0, 1 (validation: room2) with the masks of "chair". Reads the entry `event_replica` of
datasets_catalog. `distill_sam3d` says what trains and how to use more GPUs.

EXPECTED COST, 200 epochs of 6000 frames: 6 GPU-hours of H100 or 19 of A100 at 40 % of their bf16 peak. The number of
frames is assumed (about 1000 in each room): set `budget.num_samples` to 200 times what the catalog holds.
"""

from eventsam.recipe import Recipe
from eventsam.recipes import distill_sam3d


def recipe() -> Recipe:
    """Return the recipe; the module says how to run it."""
    return distill_sam3d.recipe("event_replica", num_frames=6_000)
