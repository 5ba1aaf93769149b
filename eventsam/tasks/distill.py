"""Stage 1, distill: a frozen RGB embedder teaches an event embedder its features, block by block."""

from collections.abc import Sequence

import torch
from torch import Tensor

from eventsam.metrics.features import feature_metrics
from eventsam.metrics.state import MetricState
from eventsam.models.embedder import Embedded, ImageEmbedder
from eventsam.models.fusion.injected import check_blocks, default_injection_blocks
from eventsam.objectives.distillation import FeatureLoss
from eventsam.objectives.features import pivotal_weights
from eventsam.tasks.task import Batch, Task


class Distill(Task):
    """Train an event embedder, started from the RGB teacher's weights, to match it on the sharp frame.

    Trained are the patch embedding, the MLPs of the chosen blocks and the projection; everything else of the student
    stays as the teacher had it (Event-SAM3D stage 1). `objective` says how features are compared; pivotal-token weights
    follow "Segment Any Events via Weighted Adaptation of Pivotal Tokens" (arXiv 2312.16222).
    """

    frozen = ("teacher",)
    reads: tuple[str, ...] = ("rgb", "event_image")

    def __init__(
        self,
        teacher: ImageEmbedder,
        objective: FeatureLoss,
        blocks: Sequence[int] | None = None,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        num_blocks = teacher.encoder.num_blocks
        self.blocks = default_injection_blocks(num_blocks) if blocks is None else check_blocks(blocks, num_blocks)
        self.teacher, self.objective = teacher, objective
        self.student = teacher.student(in_channels)
        if objective.masked:
            self.reads = (*self.reads, "mask")
        self.student.requires_grad_(False)
        trained = [self.student.encoder.patch_embed, self.student.projection]
        trained += [self.student.encoder.blocks[block].get_submodule("mlp") for block in self.blocks]
        for module in trained:
            module.requires_grad_(True)
        self.freeze()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the feature loss and its parts."""
        taught, weights = self._teach(batch)
        learned = self.student(batch["event_image"], self.blocks)
        grid = self.teacher.encoder.grid
        return self.objective(learned, taught, weights=weights, mask=batch.get("mask"), grid=grid)

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return L1 and cosine similarity per block and for the projected tokens."""
        taught: Embedded = self.teacher(batch["rgb"], self.blocks)
        learned: Embedded = self.student(batch["event_image"], self.blocks)
        return feature_metrics(learned, taught, batch["sample_index"])

    @torch.no_grad()
    def _teach(self, batch: Batch) -> tuple[Embedded, dict[int, Tensor]]:
        encoder = self.teacher.encoder
        taught: Embedded = self.teacher(batch["rgb"], self.blocks)
        if not self.objective.pivotal:
            return taught, {}
        # The attention of the block after the last one does not exist: its tokens all weigh 1.
        weights = {
            block: pivotal_weights(*encoder.query_key(block + 1, taught.taps[block]), encoder.num_prefix_tokens)
            for block in self.blocks
            if block + 1 < encoder.num_blocks
        }
        return taught, weights
