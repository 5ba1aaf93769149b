"""The blur ladder's five inputs, evaluated side by side on the same samples."""

from pathlib import Path

import torch
from torch import Tensor

from eventsam.metrics.reconstruction import reconstruction_metrics
from eventsam.metrics.state import MetricState
from eventsam.tasks.fuse import Fuse
from eventsam.tasks.task import Batch, Task
from eventsam.tasks.trained import trained_task

INPUTS = ("sharp_rgb", "blurry_rgb", "events_blurry", "edi", "control")


class Compare(Task):
    """What one reconstructor makes of five inputs.

    sharp_rgb (upper bound), blurry_rgb (lower bound), events_blurry (the fusion), edi (the blurry frame deblurred by
    the event double integral) and control (the same fusion, trained and shown without events). All are given the
    mask as the blurry frame shows it, so that they differ in the image alone.
    """

    frozen = ("fused", "control")
    reads: tuple[str, ...] = ("rgb", "rgb_blurry", "rgb_edi", "mask_blurry", "event_image", "occupancy")

    def __init__(self, fused: str | Path, control: str | Path) -> None:
        super().__init__()
        self.fused, self.control = _fuse(fused), _fuse(control)
        if self.fused.reconstructor.pointmap_embedder is not None:
            self.reads = (*self.reads, "pointmap")
        self.freeze()

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Return occupancy logits (B, R, R, R) by input."""
        model, pointmap = self.fused.reconstructor, batch.get("pointmap")
        blank = {**batch, "event_image": torch.zeros_like(batch["event_image"])}
        return {
            "sharp_rgb": model(batch["rgb"], batch["mask_blurry"], pointmap),
            "blurry_rgb": model(batch["rgb_blurry"], batch["mask_blurry"], pointmap),
            "events_blurry": self.fused.predict(batch),
            "edi": model(batch["rgb_edi"], batch["mask_blurry"], pointmap),
            "control": self.control.predict(blank),
        }

    def evaluate(self, batch: Batch) -> dict[str, MetricState]:
        """Return the metrics of each input as "<input>/<metric>"."""
        states: dict[str, MetricState] = {}
        for name, logits in self.predict(batch).items():
            metrics = reconstruction_metrics(logits > 0, batch["occupancy"], batch["sample_index"])
            states |= {f"{name}/{metric}": state for metric, state in metrics.items()}
        return states


def _fuse(path: str | Path) -> Fuse:
    task = trained_task(path)
    if not isinstance(task, Fuse):
        raise ValueError(f"the run at {path} trained a {type(task).__name__}, not a Fuse")
    return task
