"""How events enter the blurry image's features: fusion type, place, blocks and learning rate.

eventsam sweep fuse fusion_designs --set data.root=CATALOG --set task.reconstructor.checkpoint=RUN
--set task.event_embedder.checkpoint=RUN.
"""

from search_spaces import Choice, Options, Range

METRIC, MODE, RECIPE = "viou", "max", "fuse"

SPACE = {
    "task.fusion": Choice(("gated", "attn", "cattn", "flamingo")),
    "place": Options({"final": {"task.injection_blocks": "final"}, "encoder": {}}),
    # Blocks of any encoder of three or more; None is every third counted from the last: (2, 5, ..., 23) in ViT-L.
    "task.injection_blocks": Choice((None, (0, 1, 2), (1, 2), (2,)), only={"place": ("encoder",)}),
    "optimizer.learning_rate": Range(5e-4, 1e-2, log=True),
}
