"""The whole SAM-3D-shaped model, with or without events: condition embedder, fusion, generator and decoder."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from eventsam.models.freeze import Freezable
from eventsam.models.sam3d.condition import EVENT, ConditionEmbedder
from eventsam.models.sam3d.folder import load_part, read_preset
from eventsam.models.sam3d.fusing import Fusing
from eventsam.models.sam3d.generator import Generator, InjectCondition
from eventsam.models.sam3d.guidance import Guidance
from eventsam.models.sam3d.inputs import ConditionInputs
from eventsam.models.sam3d.latents import SHAPE, Latents
from eventsam.models.sam3d.pose import Pose, decode_pose
from eventsam.models.sam3d.presets import Sam3dPreset, check_preset
from eventsam.models.sam3d.sampler import sample
from eventsam.models.sam3d.tokens import Condition
from eventsam.models.sam3d.vae import OccupancyVaeDecoder

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Sampling:
    """How latents are sampled; see `eventsam.models.sam3d.sampler.sample`."""

    num_steps: int = 25
    rescale: float | None = None
    guidance: Guidance | None = None
    distilled: bool = False


DISTILLED = Sampling(num_steps=4, distilled=True)
"""Four steps of a generator that has learned shortcuts."""


class Reconstruction(NamedTuple):
    """What is made of B objects.

    `logits` (B, R, R, R), axes x, y, z, filled where above 0; `latents` as sampled, never overwritten; `pose` in the
    units of the pointmap where `is_metric` (B,) is True, else relative to a pointmap that was not there.
    """

    logits: Tensor
    latents: Latents
    pose: Pose
    is_metric: Tensor


class Sam3d(Freezable):
    """SAM 3D Objects' first stage (arXiv 2511.16624) around which events are fused (Event-SAM3D).

    `fusing` says which fusion acts where; None for none. At initialisation, and for samples whose window holds no
    event, the fusion changes nothing: not a bit of the output. With `precision` "bfloat16", embedder and generator run
    under autocast, unless the caller has chosen a precision already.

    Raises ValueError for a fusion without an event entry in the embedder, and for blocks that there are not.
    """

    def __init__(
        self,
        embedder: ConditionEmbedder,
        generator: Generator,
        decoder: OccupancyVaeDecoder,
        fusing: Fusing | None = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        if fusing is not None and embedder.event_channels is None:
            raise ValueError("fusion needs the embedder's event entry: build it with event_channels")
        self.embedder, self.generator, self.decoder = embedder, generator, decoder
        self.preset, self.fusing, self.precision = embedder.preset, fusing, precision
        self.fusion = None if fusing is None else fusing.build(embedder.preset)

    def condition(self, inputs: ConditionInputs, drop: Collection[str] = ()) -> Condition:
        """Return the condition, with events fused into the image tokens where that is their place."""
        before = self.fusing is not None and self.fusing.place != "generator"
        with self._autocast(inputs.image.device):
            condition: Condition = self.embedder(inputs, self.fusion if before else None, drop)
        if self.fusion is not None and not before and "event" not in condition.groups:
            raise ValueError("the fusion needs event images, and the inputs have none")
        return condition

    def inject(self, condition: Condition) -> InjectCondition | None:
        """Return what changes the condition before chosen generator blocks; None where events are fused elsewhere.

        None also for a condition without events, as the embedder alone makes it: that is the model without its fusion.
        Give it to the generator, its losses or the sampler, with `condition.released` as the condition.
        """
        inside = self.fusing is not None and self.fusing.place == "generator"
        if self.fusion is None or self.fusing is None or not inside or condition.has_events is None:
            return None
        num_queries = condition.num_image_tokens if self.fusing.queries == "image" else None
        return self.fusion.inject_condition(condition.events, condition.has_events, num_queries)

    def generate(self, condition: Condition, seeds: Sequence[int], sampling: Sampling = Sampling()) -> Latents:
        """Sample latents, each sample from its own seed."""
        with self._autocast(condition.tokens.device):
            return sample(
                self.generator,
                condition.released,
                seeds=seeds,
                num_steps=sampling.num_steps,
                rescale=sampling.rescale,
                guidance=sampling.guidance,
                distilled=sampling.distilled,
                inject=self.inject(condition),
            )

    def reconstruct(
        self,
        inputs: ConditionInputs,
        seeds: Sequence[int],
        sampling: Sampling = Sampling(),
        drop: Collection[str] = (),
    ) -> Reconstruction:
        """Return occupancy, latents and pose of each object; `drop` as for the condition embedder.

        Gradients flow unless the caller turns them off.
        """
        latents = self.generate(self.condition(inputs, drop), seeds, sampling)
        return self.decode(latents, inputs)

    def decode(self, latents: Latents, inputs: ConditionInputs) -> Reconstruction:
        """Return what latents say of the objects that they were sampled for."""
        with self._autocast(inputs.image.device):
            logits = self.decoder(latents[SHAPE]).squeeze(1)
        scale, shift, is_metric = inputs.pose_frame()
        return Reconstruction(logits, dict(latents), decode_pose(latents, scale, shift), is_metric)

    def gates(self) -> dict[str, float]:
        """Return the fusion's numbers for the log, named "<place>/<block>/<gate>"; none without fusion."""
        if self.fusion is None or self.fusing is None:
            return {}
        return {f"{self.fusing.place}/{name}": value for name, value in self.fusion.gates().items()}

    def set_checkpointing(self, on: bool) -> None:
        """Compute activations of encoders, fusion and generator again in the backward pass, or keep them."""
        self.embedder.set_checkpointing(on)
        self.generator.checkpointing = on
        if self.fusion is not None:
            self.fusion.checkpointing = on

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        if self.precision == "float32" or torch.is_autocast_enabled(device.type):
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def build_sam3d(
    preset: str = "tiny",
    checkpoint: str | Path | None = None,
    *,
    event_channels: int | None = None,
    fusing: Fusing | None = None,
    pointmap_dropout: float = 0.1,
    precision: Precision = "float32",
    checkpointing: bool = False,
) -> Sam3d:
    """Build a model of named sizes at random, or from the folder that `eventsam convert sam3d` writes, with its sizes.

    `event_channels` adds the event entry, started from the image entry unless the checkpoint has one; `fusing` needs
    it. Raises FileNotFoundError and ValueError for a folder that is incomplete or does not fit, naming the weights.
    """
    folder = None if checkpoint is None else Path(checkpoint)
    sizes = check_preset(preset) if folder is None else read_preset(folder)
    embedder = build_embedder(sizes, folder, event_channels, pointmap_dropout)
    generator, decoder = Generator(sizes), OccupancyVaeDecoder(sizes)
    if folder is not None:
        load_part(folder, "generator", generator)
        load_part(folder, "decoder", decoder)
    model = Sam3d(embedder, generator, decoder, fusing, precision)
    model.set_checkpointing(checkpointing)
    return model


def build_embedder(
    sizes: Sam3dPreset, folder: Path | None, event_channels: int | None, pointmap_dropout: float = 0.1
) -> ConditionEmbedder:
    """Build the condition embedder alone, at random or from a converted checkpoint's folder."""
    if folder is None:
        return ConditionEmbedder(sizes, event_channels, pointmap_dropout)
    stored = _stored_shapes(folder / "embedder.safetensors")
    kernel = stored.get(f"module_list.{EVENT}.backbone.patch_embed.proj.weight")
    channels = None if kernel is None else kernel[1]
    if channels is not None and event_channels not in (None, channels):
        raise ValueError(f"{folder} has an event entry of {channels} channels, asked for: {event_channels}")
    embedder = ConditionEmbedder(sizes, channels, pointmap_dropout, "module_list.2.dropped_xyz_token" in stored)
    load_part(folder, "embedder", embedder)
    embedder.mark_initialised(str(folder))
    if channels is None and event_channels is not None:
        embedder.add_events(event_channels)
    return embedder


def _stored_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of a safetensors file's weights; none where there is no file: loading it says so."""
    if not path.is_file():
        return {}
    with safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
