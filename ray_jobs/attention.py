"""Attention of a run's teacher and student on a few samples of a split."""

import numpy as np
import torch

from eventsam.engine import to_device
from eventsam.loading import Loader
from eventsam.models.attention_maps import attention_pair
from eventsam.models.vit import ImageEncoder
from eventsam.report.data import AttentionRow
from eventsam.tasks.distill import Distill
from eventsam.tasks.fuse import Fuse
from eventsam.tasks.task import Task

KEYS = ("rgb", "event_image")


def attention_rows(task: Task, loader: Loader, num_samples: int) -> list[AttentionRow]:
    """Return the maps of the teacher on sharp RGB and of the student on events, of objects spread over the split.

    Raises ValueError for a task without the two encoders.
    """
    teacher, student = encoders(task.eval())
    objects = np.array(loader.catalog.table["object_id"].to_pylist())
    first = np.sort(np.unique(objects, return_index=True)[1])
    picked = first[np.linspace(0, len(first) - 1, min(num_samples, len(first))).round().astype(int)]
    arrays = loader.batch(picked.astype(np.int64))
    batch = to_device(arrays, torch.device("cpu"))
    blocks = tuple(sorted({teacher.num_blocks // 3, 2 * teacher.num_blocks // 3, teacher.num_blocks - 1}))
    pairs = [attention_pair(teacher, student, batch["rgb"], batch["event_image"], block) for block in blocks]
    maps = {
        name: torch.stack([getattr(pair, name) for pair in pairs], dim=1).numpy() for name in ("teacher", "student")
    }
    rows = []
    for number, place in enumerate(picked):
        seen = loader.data.representation.to_rgb(arrays["event_image"][number])
        images = {"teacher": arrays["rgb"][number], "student": seen}
        own = {name: values[number] for name, values in maps.items()}
        rows.append(AttentionRow(loader.catalog.row(int(place))["sample_id"], blocks, images, own))
    return rows


def encoders(task: Task) -> tuple[ImageEncoder, ImageEncoder]:
    """Return a task's RGB teacher and event student."""
    if isinstance(task, Distill):
        return task.teacher.encoder, task.student.encoder
    if isinstance(task, Fuse):
        return task.reconstructor.encoder, task.event_embedder.encoder
    raise ValueError(
        f"a {type(task).__name__} has no teacher and student to look through; give a Distill's or a Fuse's run"
    )
