"""What makes the fusion hold up against blur: its target, added blur in training, the window of events.

eventsam sweep fuse blur_robustness --set data.root=CATALOG --set task.reconstructor.checkpoint=RUN
--set task.event_embedder.checkpoint=RUN. Validation keeps its own blur levels, the same for all trials.
"""

from eventsam.spec import spec
from eventsam.transforms.blur import GaussianBlur, MotionBlur
from eventsam.transforms.flip import HorizontalFlip
from search_spaces import Choice, Options, Range

METRIC, MODE, RECIPE = "viou", "max", "fuse"

FLIP = spec(HorizontalFlip)

SPACE = {
    "task.target": Choice(("teacher", "truth", "both")),
    "added blur": Options(
        {
            "none": {"data.augment": (FLIP,)},
            "gaussian": {"data.augment": (FLIP, spec(GaussianBlur))},
            "motion": {"data.augment": (FLIP, spec(MotionBlur))},
        }
    ),
    "data.window.length_ms": Choice((5.0, 10.0, 20.0)),
    "optimizer.learning_rate": Range(1e-3, 6e-3, log=True),
}
