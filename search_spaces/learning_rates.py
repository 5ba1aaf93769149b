"""The optimiser alone: learning rate, weight decay, warm-up and the rate's end; fits every recipe.

eventsam sweep reconstruct learning_rates --set data.root=CATALOG; other recipes with --metric and --mode.
"""

from search_spaces import Choice, Range

METRIC, MODE, RECIPE = "viou", "max", "reconstruct"

SPACE = {
    "optimizer.learning_rate": Range(3e-4, 1e-2, log=True, num_grid=5),
    "optimizer.weight_decay": Range(1e-3, 0.2, log=True),
    "optimizer.warmup_share": Choice((0.02, 0.05, 0.15)),
    "optimizer.final_share": Choice((0.0, 0.02, 0.1)),
}
