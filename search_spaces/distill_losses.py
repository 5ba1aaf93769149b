"""How the student is held against its teacher: weights and kinds of the feature loss.

eventsam sweep distill distill_losses --set data.root=CATALOG --set task.teacher.checkpoint=RUN. The cosine of the
projected tokens is measured the same way whatever the loss, so that losses can be compared by it.
"""

from search_spaces import Choice, Range

METRIC, MODE, RECIPE = "cosine", "max", "distill"

SPACE = {
    "task.objective.normalise": Choice(("none", "layer")),
    "task.objective.block_weight": Choice((0.0, 0.5, 1.0)),
    "task.objective.projected_weight": Choice((1.0, 2.0, 4.0)),
    "task.objective.structure_weight": Choice((0.0, 0.5, 1.0)),
    "task.objective.pivotal": Choice((False, True)),
    "task.objective.masked": Choice((False, True)),
    "optimizer.learning_rate": Range(1e-3, 4e-3, log=True),
}
