"""What a step of stage 2 costs at any size, found without running it: the fusion trains, the rest is frozen."""

import torch
from torch import Tensor

from eventsam.models.sam3d.cost import Cost, step_cost
from eventsam.models.sam3d.flow import flow_matching_loss
from eventsam.models.sam3d.fusing import Fusing
from eventsam.models.sam3d.inputs import ConditionInputs
from eventsam.models.sam3d.latents import noise
from eventsam.models.sam3d.model import Sam3d, build_sam3d
from eventsam.models.sam3d.presets import Sam3dPreset


def fusing_cost(preset: str, batch: int, fusing: Fusing, *, checkpointing: bool = True) -> Cost:
    """Return the cost of a flow-matching step from images, masks, pointmaps and events, under bfloat16 autocast.

    Weights are float32. AdamW's two numbers per trained parameter come on top, as does what a GPU's allocator and
    libraries take (some percent, and about a gigabyte).
    """
    with torch.device("meta"):
        model = build_sam3d(preset, event_channels=3, fusing=fusing, checkpointing=checkpointing)
    for part in (model.embedder, model.generator, model.decoder):
        part.freeze()

    def build() -> Sam3d:
        # Initialisation reads values, so it cannot happen where tensors have none and yet pretend to a device.
        faked: Sam3d = model._apply(lambda t: torch.empty(t.shape, dtype=t.dtype))  # type: ignore[no-untyped-call]
        return faked

    def loss(model: Sam3d) -> Tensor:
        rng = torch.Generator()
        with torch.autocast("cpu", torch.bfloat16):
            condition = model.condition(blank_inputs(model.preset, batch))
            data = noise(model.preset, batch, rng)
            inject = model.inject(condition)
            return flow_matching_loss(model.generator, data, condition.released, rng=rng, inject=inject).total

    return step_cost(build, loss)


def blank_inputs(preset: Sam3dPreset, batch: int) -> ConditionInputs:
    """Return inputs of the right shapes, all zero, each with its pointmap and events."""
    size = preset.image_size
    image, mask = torch.zeros(batch, 3, size, size), torch.zeros(batch, 1, size, size)
    every = torch.ones(batch, dtype=torch.bool)
    return ConditionInputs(
        image=image,
        rgb_image=image,
        mask=mask,
        rgb_image_mask=mask,
        pointmap=image,
        rgb_pointmap=image,
        event_image=image,
        rgb_event_image=image,
        has_pointmap=every,
        has_events=every,
    )
