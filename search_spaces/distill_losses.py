"""How the student is held against its teacher: weights and terms of the feature loss.

eventsam sweep distill distill_losses --set data.root=CATALOG --set task.teacher.checkpoint=RUN. The cosine of the
projected tokens is measured the same way whatever the loss, so that losses can be compared by it.
"""

from eventsam.objectives.distillation import EventPatches, ObjectPatches, PivotalTokens, Structure
from eventsam.spec import spec
from search_spaces import Choice, Options, Range

METRIC, MODE, RECIPE = "cosine", "max", "distill"

SPACE = {
    "task.objective.normalise": Choice(("none", "layer")),
    "task.objective.block_weight": Choice((0.0, 0.5, 1.0)),
    "task.objective.projected_weight": Choice((1.0, 2.0, 4.0)),
    "betas": Options({"even": {"task.objective.betas": None}, "rising": {"task.objective.betas": (0.1, 1.0)}}),
    "tokens": Options(
        {"even": {"task.objective.tokens": None}, "pivotal": {"task.objective.tokens": spec(PivotalTokens)}}
    ),
    "region": Options(
        {
            "whole": {"task.objective.region": None},
            "object": {"task.objective.region": spec(ObjectPatches)},
            "events": {"task.objective.region": spec(EventPatches)},
        }
    ),
    "structure": Options(
        {
            "none": {"task.objective.structure": None},
            **{str(w): {"task.objective.structure": spec(Structure, weight=w)} for w in (0.5, 1.0, 2.0)},
        }
    ),
    "optimizer.learning_rate": Range(1e-3, 4e-3, log=True),
}
