"""Stage 2 for a SAM-3D-shaped model: blurry RGB and events are fused so that it samples what sharp RGB would give."""

from typing import Literal

import torch
from torch import Tensor

from eventsam.metrics.reconstruction import reconstruction_metrics
from eventsam.metrics.state import MetricState, PerSample
from eventsam.models.embedder import ImageEmbedder
from eventsam.models.sam3d.fusing import Fusing
from eventsam.models.sam3d.inputs import ConditionInputs
from eventsam.models.sam3d.latents import POSE_CHANNELS, SHAPE, Latents
from eventsam.models.sam3d.model import DISTILLED, Sam3d, Sampling
from eventsam.models.sam3d.tokens import GROUPS, Condition
from eventsam.objectives.generation import Direct, GenerationLoss, Target
from eventsam.tasks.sam3d_inputs import Shown, seeded, seeds_of
from eventsam.tasks.task import Batch, Task
from eventsam.tasks.trainable import select_trainable, set_modes

EVENT_ENTRY = ("module_list.3.*patch_embed*", "module_list.3.*mlp*", "projection_nets.3")
"""What stage 1 trains, by its names in the condition embedder."""


class FuseLatents(Task):
    """Train only the fusion (Event-SAM3D stage 2) of a model that was trained, or released, without events.

    The target is what the model itself samples from sharp RGB, in `sampling`'s steps from each sample's own noise, or,
    with `target="stored"`, what `eventsam targets` kept of that. `events` is stage 1's embedder: encoder and
    projection. `stage_1_weight` above 0 lets it go on learning: the mean L1 distance of its projected tokens, crop and
    full frame, to those of the sharp image is added. Training and validation report the same loss and shape metrics.
    """

    def __init__(
        self,
        model: Sam3d,
        events: ImageEmbedder,
        fusing: Fusing = Fusing(),
        objective: GenerationLoss = Direct(),
        shown: Shown = Shown(),
        target: Literal["teacher", "stored"] = "teacher",
        stage_1_weight: float = 0.0,
        sampling: Sampling = DISTILLED,
    ) -> None:
        super().__init__()
        if stage_1_weight < 0:
            raise ValueError(f"stage_1_weight must be at least 0, got {stage_1_weight}")
        model.embedder.add_events(events.encoder.in_channels)
        model.embedder.load_events(events)
        # The same frozen parts, once without and once with the fusion: the teacher costs no memory of its own.
        self.model = Sam3d(model.embedder, model.generator, model.decoder, fusing, model.precision)
        self.objective, self.shown, self.target = objective, shown, target
        self.stage_1_weight, self.sampling = stage_1_weight, sampling
        # With stage 1 going on, the embedder's frozen rest is kept beside what it learns.
        self.frozen = (*(("model.embedder",) if not stage_1_weight else ()), "model.generator", "model.decoder")
        sharp = ("rgb",) if target == "teacher" or stage_1_weight else ()
        stored = ("target_shape", "target_pose", "target_occupancy") if target == "stored" else ()
        self.reads = ("rgb_blurry", "event_image", *shown.reads, *sharp, *stored, "occupancy")
        self.freeze()

    def freeze(self) -> None:
        """Freeze the model, but for the event entry where stage 1 goes on."""
        if self.stage_1_weight:
            select_trainable(self.model.embedder, EVENT_ENTRY)
        super().freeze()

    def train(self, mode: bool = True) -> "FuseLatents":
        """Set the mode of what trains; whatever is frozen, in the event entry's neighbourhood too, stays in eval."""
        super().train(mode)
        if self.stage_1_weight:
            set_modes(self.model.embedder, mode)
        return self

    def predict(self, batch: Batch) -> Tensor:
        """Return occupancy logits (B, R, R, R) from blurry RGB and events."""
        inputs = self._inputs(batch, "rgb_blurry", events=True)
        return self.model.reconstruct(inputs, seeds_of(batch), self.sampling).logits

    def predict_rgb(self, batch: Batch, key: str) -> Tensor:
        """Return occupancy logits (B, R, R, R) from the frame under a sample key alone."""
        return self._teacher(batch, key)[0]

    def predict_events(self, batch: Batch) -> Tensor:
        """Return occupancy logits (B, R, R, R) from events alone: their projected tokens take the frame's place."""
        condition: Condition = self.model.embedder(self._inputs(batch, "rgb_blurry", events=True))
        tokens = torch.cat([condition.events, condition.released[:, condition.num_image_tokens :]], dim=1)
        groups = {name: condition.groups[name] for name in GROUPS}
        return self._sampled(Condition(tokens, groups), batch)[0]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss against the target and its parts."""
        return self._losses(batch, seeded(batch))

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return the loss, one number per batch, and volume IoU, Chamfer distances and F-score per sample."""
        loss = self._losses(batch, torch.Generator().manual_seed(seeds_of(batch)[0]))["loss"]
        index = batch["sample_index"]
        told = PerSample(index.cpu().numpy(), loss.expand(len(index)).float().cpu().numpy())
        return {"loss": told} | reconstruction_metrics(self.predict(batch) > 0, batch["occupancy"], index)

    def gauges(self) -> dict[str, float]:
        """Return the fusion's gates."""
        return {f"gate/{name}": value for name, value in self.model.gates().items()}

    def _losses(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        condition = self.model.condition(self._inputs(batch, "rgb_blurry", events=True))
        losses = self.objective(self.model, condition, self._target(batch), rng)
        if self.stage_1_weight:
            losses["stage_1"] = self._stage_1(condition, batch)
            losses["loss"] = losses["loss"] + self.stage_1_weight * losses["stage_1"]
        return losses

    def _stage_1(self, condition: Condition, batch: Batch) -> Tensor:
        with torch.no_grad():
            sharp = self.model.embedder(self._inputs(batch, "rgb", events=False))
        distance: Tensor = (condition.events - sharp.tokens[:, : sharp.num_image_tokens]).abs().mean()
        return distance

    @torch.no_grad()
    def _target(self, batch: Batch) -> Target:
        if self.target == "teacher":
            logits, latents = self._teacher(batch, "rgb")
            return Target(latents, logits > 0)
        return Target(_stored(batch), batch["target_occupancy"])

    @torch.no_grad()
    def _teacher(self, batch: Batch, key: str) -> tuple[Tensor, Latents]:
        return self._sampled(self.model.embedder(self._inputs(batch, key, events=False)), batch)

    @torch.no_grad()
    def _sampled(self, condition: Condition, batch: Batch) -> tuple[Tensor, Latents]:
        latents = self.model.generate(condition, seeds_of(batch), self.sampling)
        return self.model.decoder(latents[SHAPE]).squeeze(1), latents

    def _inputs(self, batch: Batch, frame: str, events: bool) -> ConditionInputs:
        return self.shown.inputs(batch, frame, self.model.preset.image_size, events)


def _stored(batch: Batch) -> Latents:
    """Return the latents that `eventsam targets` kept; the pose's lie behind each other in one row."""
    pose = torch.split(batch["target_pose"], list(POSE_CHANNELS.values()), dim=1)
    return {SHAPE: batch["target_shape"], **{name: row[:, None] for name, row in zip(POSE_CHANNELS, pose, strict=True)}}
