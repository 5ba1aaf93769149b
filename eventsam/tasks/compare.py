"""The blur ladder's inputs, evaluated side by side on the same samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from eventsam.metrics.reconstruction import reconstruction_metrics
from eventsam.metrics.shape import ShapeProtocol
from eventsam.metrics.state import MetricState
from eventsam.metrics.uni3d import Uni3dSimilarity
from eventsam.predictions import Predictions
from eventsam.tasks.task import Batch, Task
from eventsam.tasks.trained import trained_task
from eventsam.unknown_name import unknown_name

FRAMES: Mapping[str, str] = {"sharp_rgb": "rgb", "blurry_rgb": "rgb_blurry", "edi": "rgb_edi"}
"""Inputs that are one frame, and its sample key."""
INPUTS = ("sharp_rgb", "blurry_rgb", "events_blurry", "edi", "control", "events_only")


@runtime_checkable
class Comparable(Protocol):
    """What a fusion's task offers to be compared; each returns occupancy logits (B, R, R, R)."""

    def predict(self, batch: Batch) -> Tensor:
        """From the blurry frame and events."""

    def predict_rgb(self, batch: Batch, key: str) -> Tensor:
        """From the frame under a sample key, without events."""

    def predict_events(self, batch: Batch) -> Tensor:
        """From events, without a frame."""


class Compare(Task):
    """What one reconstructor makes of several inputs.

    sharp_rgb (upper bound), blurry_rgb (lower bound), events_blurry (the fusion), edi (the blurry frame deblurred by
    the event double integral), control (the same fusion, trained and shown without events) and events_only (the event
    embedder's tokens in place of the frame's). All are given the mask as the blurry frame shows it, so that they
    differ in the image alone.

    `protocol` adds all shape metrics, `similarity` Uni3D's; `predictions` keeps what was predicted. Raises ValueError
    for an unknown input, none, or "control" without a control's run.
    """

    def __init__(
        self,
        fused: str | Path,
        control: str | Path | None = None,
        inputs: Sequence[str] = INPUTS,
        protocol: ShapeProtocol | None = None,
        similarity: Uni3dSimilarity | None = None,
        predictions: Predictions | None = None,
    ) -> None:
        super().__init__()
        self.inputs = check_inputs(inputs)
        self.protocol, self.similarity, self.predictions = protocol, similarity, predictions
        self.fused = _comparable(fused)
        if "control" in self.inputs and control is None:
            raise ValueError("input 'control' needs a control's run")
        self.control = _comparable(control) if control is not None and "control" in self.inputs else None
        self.frozen = ("fused", "control") if self.control is not None else ("fused",)
        self.reads = self._keys()
        self.freeze()

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Return occupancy logits (B, R, R, R) by input."""
        return {name: self._predict_one(name, batch) for name in self.inputs}

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return the metrics of each input as "<input>/<metric>"."""
        states: dict[str, MetricState] = {}
        truth, index = batch["occupancy"], batch["sample_index"]
        logits = self.predict(batch)
        pictures = self.similarity.image_features(batch["rgb"], batch["mask"]) if self.similarity else None
        for name, predicted in logits.items():
            grids = predicted > 0
            metrics = reconstruction_metrics(grids, truth, index)
            if self.protocol is not None:
                metrics |= self.protocol.states(grids, truth, index)
            if self.similarity is not None and pictures is not None:
                metrics |= self.similarity.states(grids, pictures, index)
            states |= {f"{name}/{metric}": state for metric, state in metrics.items()}
        if self.predictions is not None:
            self.predictions.write(index, logits, truth)
        return states

    def _predict_one(self, name: str, batch: Batch) -> Tensor:
        fused, control = cast(Comparable, self.fused), cast(Comparable, self.control)
        if name in FRAMES:
            return fused.predict_rgb(batch, FRAMES[name])
        if name == "control":
            return control.predict({**batch, "event_image": torch.zeros_like(batch["event_image"])})
        return fused.predict(batch) if name == "events_blurry" else fused.predict_events(batch)

    def _keys(self) -> tuple[str, ...]:
        """What the inputs read, and the fusion beside its own target's frame (its pointmap, say)."""
        wanted = {FRAMES[name] for name in self.inputs if name in FRAMES}
        if any(name not in FRAMES for name in self.inputs):
            wanted |= {"rgb_blurry", "event_image"}
        wanted |= {"rgb", "mask"} if self.similarity is not None else set()
        beside = set(self.fused.reads) - {"rgb", "rgb_blurry", "event_image"}
        return tuple(sorted(wanted | beside | {"mask_blurry", "occupancy"}))


def check_inputs(names: Sequence[str]) -> tuple[str, ...]:
    """Return the inputs in their own order; raise ValueError for none or an unknown one, with the nearest name."""
    for name in names:
        if name not in INPUTS:
            raise ValueError(unknown_name("input", name, INPUTS))
    if not names:
        raise ValueError(f"no input to compare (there are: {', '.join(INPUTS)})")
    return tuple(name for name in INPUTS if name in names)


def _comparable(path: str | Path) -> Task:
    task = trained_task(path)
    if not isinstance(task, Comparable):
        raise ValueError(f"the run at {path} trained a {type(task).__name__}, which fuses no events into frames")
    return task
