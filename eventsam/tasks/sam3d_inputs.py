"""Samples as a SAM-3D-shaped model reads them: whole frames, prepared on the model's device."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from eventsam.models.mask_embedder import box_of
from eventsam.models.sam3d.boxes import crop_boxes
from eventsam.models.sam3d.inputs import ConditionInputs
from eventsam.models.sam3d.preprocess import Frames, Preprocess
from eventsam.models.sam3d.resample import resize_nearest
from eventsam.tasks.task import Batch
from eventsam.unknown_name import unknown_name


@dataclass(frozen=True)
class Shown:
    """Which of a sample's keys are shown, besides the frame: the mask, or only its box, and the pointmap or none.

    The crop follows the mask. A box is what a blurry frame gives: its outline is smeared, and the sharp frame's would
    give the answer away. A window without events makes the fusion fall back to RGB; with `blank_counts` blank event
    images count as events, as a control that is trained without them needs.
    """

    mask: Literal["mask", "mask_blurry"] = "mask_blurry"
    prompt: Literal["mask", "box"] = "box"
    pointmap: bool = False
    blank_counts: bool = False

    def __post_init__(self) -> None:
        for what, name, allowed in (
            ("mask", self.mask, ("mask", "mask_blurry")),
            ("prompt", self.prompt, ("mask", "box")),
        ):
            if name not in allowed:
                raise ValueError(unknown_name(what, name, allowed))

    @property
    def reads(self) -> tuple[str, ...]:
        """The sample keys beside the frame's own."""
        return (self.mask, "pointmap") if self.pointmap else (self.mask,)

    def inputs(self, batch: Batch, frame: str, size: int, events: bool) -> ConditionInputs:
        """Return the model's inputs, `size` pixels square, with the frame under key `frame` and with events or without.

        Raises ValueError naming the samples (rows of the catalog) whose mask is empty.
        """
        mask = self._mask(batch)
        counted = torch.ones(len(mask), dtype=torch.bool, device=mask.device) if self.blank_counts else None
        frames = Frames(
            image=batch[frame],
            mask=mask,
            pointmap=batch["pointmap"] if self.pointmap else None,
            event_image=batch["event_image"] if events else None,
            has_events=counted,
            ids=_ids(batch),
        )
        return Preprocess(size)(frames)

    def crop_of(self, batch: Batch, key: str, size: int) -> Tensor:
        """Return a mask under another key (B, 1, size, size), cut as the frame's crop is."""
        mask = batch[key]
        frames = torch.tensor([tuple(mask.shape[2:])] * len(mask), device=mask.device)
        return resize_nearest(mask, crop_boxes(self._mask(batch), _ids(batch)), frames, size)

    def _mask(self, batch: Batch) -> Tensor:
        mask = batch[self.mask]
        return box_of(mask) if self.prompt == "box" else mask


def seeded(batch: Batch) -> torch.Generator:
    """Return a generator seeded by where in the run's order the batch begins: a resumed run draws what it would have.

    It lives on the CPU, so that a GPU draws the same.
    """
    return torch.Generator().manual_seed(int(batch["position"][0]))


def seeds_of(batch: Batch) -> list[int]:
    """Return one seed per sample, the same in every batch, run and epoch."""
    return [int(index) for index in batch["sample_index"]]


def _ids(batch: Batch) -> list[str]:
    return [f"sample {index}" for index in batch["sample_index"].tolist()]
