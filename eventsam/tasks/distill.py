"""Stage 1, distill: a frozen RGB embedder teaches an event embedder its features, block by block."""

from collections.abc import Sequence

import torch
from torch import Tensor

from eventsam.metrics.features import feature_metrics
from eventsam.metrics.state import MetricState
from eventsam.models.embedder import Embedded, ImageEmbedder
from eventsam.models.fusion.injected import check_blocks, default_injection_blocks
from eventsam.objectives.distillation import FeatureLoss
from eventsam.sample import check_view, view_key
from eventsam.tasks.task import Batch, Task
from eventsam.tasks.trainable import select_trainable, set_modes

TRAINABLE = ("patch_embed", "blocks.{block}.*mlp*", "projection")
"""What trains in Event-SAM3D's student."""


class Distill(Task):
    """Train an event embedder, started from the RGB teacher's weights, to match it on the sharp frame.

    `trainable` are patterns of the student's parameter names (`select_trainable`), one with `{block}` once for each of
    `blocks`; everything else of the student stays as the teacher had it (Event-SAM3D stage 1), in eval mode like the
    teacher itself. `views` are what both are shown: the object's "crop", the "full" image, or both; the loss is the
    mean over views, with 1 + len(blocks) terms each, all in the log. The projected tokens of the student are those of
    the events, so that its projection learns too. `objective` says how features are compared.

    Raises ValueError for a pattern that fits no parameter, an unknown view, a block out of range and more betas
    than blocks.
    """

    frozen = ("teacher",)

    def __init__(
        self,
        teacher: ImageEmbedder,
        objective: FeatureLoss,
        blocks: Sequence[int] | None = None,
        in_channels: int = 3,
        views: tuple[str, ...] = ("crop",),
        trainable: tuple[str, ...] = TRAINABLE,
    ) -> None:
        super().__init__()
        num_blocks = teacher.encoder.num_blocks
        self.blocks = default_injection_blocks(num_blocks) if blocks is None else check_blocks(blocks, num_blocks)
        objective.block_betas(len(self.blocks))
        self.views = tuple(check_view(view) for view in views)
        self.teacher, self.objective = teacher, objective
        self.student = teacher.student(in_channels)
        keys = ["rgb", "event_image"]
        if objective.region is not None and objective.region.reads not in keys:
            keys.append(objective.region.reads)
        self.reads = tuple(view_key(key, view) for view in self.views for key in keys)
        patterns = [pattern.format(block=block) for pattern in trainable for block in self.blocks]
        self.trained = tuple(select_trainable(self.student, list(dict.fromkeys(patterns))))
        self.freeze()

    def train(self, mode: bool = True) -> "Distill":
        """Set the mode of the parts that train; the teacher and what is frozen of the student stay in eval mode."""
        super().train(mode)
        set_modes(self.student, mode)
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and its terms, "l1/<view>/block_<i>", "l1/<view>/projected" and "structure/<view>"."""
        losses = [self._view_loss(batch, view) for view in self.views]
        total = torch.stack([parts.pop("loss") for parts in losses]).mean()
        named = {name: term for parts in losses for name, term in parts.items()}
        return {"loss": total, **named}

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return L1 and cosine per block and for the projected tokens; those of a second view as "cosine/<view>"."""
        states: dict[str, MetricState] = {}
        for view in self.views:
            taught, learned = self._embed(batch, view)
            place = "" if view == self.views[0] else f"/{view}"
            states |= feature_metrics(learned, taught, batch["sample_index"], place)
        return states

    def _view_loss(self, batch: Batch, view: str) -> dict[str, Tensor]:
        taught, learned = self._embed(batch, view)
        encoder, objective = self.teacher.encoder, self.objective
        weights = objective.tokens(encoder, taught.taps) if objective.tokens is not None else None
        patches = None
        if objective.region is not None:
            patches = objective.region(batch[view_key(objective.region.reads, view)], encoder.grid)
        parts = objective(learned, taught, weights=weights, patches=patches, grid=encoder.grid)
        named = {"loss": parts.pop("loss")}
        if "structure" in parts:
            named[f"structure/{view}"] = parts.pop("structure")
        return named | {f"l1/{view}/{name}": term for name, term in parts.items()}

    def _embed(self, batch: Batch, view: str) -> tuple[Embedded, Embedded]:
        with torch.no_grad():
            taught: Embedded = self.teacher(batch[view_key("rgb", view)], self.blocks)
        learned: Embedded = self.student(batch[view_key("event_image", view)], self.blocks)
        return taught, learned
