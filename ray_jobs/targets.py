"""A teacher's answers for whole splits of a catalog, made on the cluster: part by part, resumable, sealed last."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from rich.progress import track

from eventsam.catalog import Catalog
from eventsam.engine import to_device
from eventsam.loading import Loader
from eventsam.models.sam3d.latents import LATENTS, SHAPE
from eventsam.models.sam3d.model import Sam3d, Sampling
from eventsam.provenance import code_hash
from eventsam.spec import Spec, build
from eventsam.targets import part_path, seal, write_part
from eventsam.tasks.sam3d_inputs import Shown, seeds_of

SETTINGS = "settings.json"


@dataclass(frozen=True)
class Asked:
    """What is asked of the teacher: its `model` as a spec, what it is `shown`, how it samples, in which portions."""

    model: Spec
    shown: Shown
    sampling: Sampling
    rgb: str = "rgb"
    rows_per_part: int = 64
    batch_size: int = 16

    @property
    def reads(self) -> tuple[str, ...]:
        """The sample keys that the teacher is shown."""
        return (self.rgb, *self.shown.reads)


class Teacher:
    """One process that holds the model and writes parts."""

    def __init__(self, asked: Asked, loader: Loader, folder: Path, device: str) -> None:
        self.asked, self.loader, self.folder = asked, loader, folder
        self.device = torch.device(device)
        model: Sam3d = build(asked.model)
        self.model = model.to(self.device).freeze()

    def write(self, number: int) -> None:
        """Write one part."""
        first = number * self.asked.rows_per_part
        last = min(first + self.asked.rows_per_part, self.loader.catalog.table.num_rows)
        answers = [
            self._answer(np.arange(start, min(start + self.asked.batch_size, last)))
            for start in range(first, last, self.asked.batch_size)
        ]
        arrays = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
        seeds = arrays.pop("sample_index").tolist()
        ids = self.loader.catalog.table["sample_id"].slice(first, last - first).to_pylist()
        write_part(part_path(self.folder, number), ids, seeds, arrays)

    @torch.no_grad()
    def _answer(self, positions: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        batch = to_device(self.loader.batch(positions), self.device)
        inputs = self.asked.shown.inputs(batch, self.asked.rgb, self.model.preset.image_size, events=False)
        made = self.model.reconstruct(inputs, seeds_of(batch), self.asked.sampling)
        pose = torch.cat([made.latents[name].flatten(1) for name in LATENTS if name != SHAPE], dim=1)
        answer = {"target_shape": made.latents[SHAPE].float(), "target_pose": pose.float()}
        answer |= {"target_occupancy": made.logits > 0, "sample_index": batch["sample_index"]}
        return {name: tensor.cpu().numpy() for name, tensor in answer.items()}


def make_targets(
    asked: Asked,
    loader: Loader,
    out: Path,
    facts: Mapping[str, Any],
    *,
    num_workers: int = 1,
    gpus_per_worker: float = 0.0,
) -> None:
    """Ask for every sample of `loader` whose part `out` does not hold yet, and seal the folder.

    May be stopped and called again. A sample's noise comes from its row in the catalog, so answers do not depend on
    who computes them. Raises ValueError where `out` was begun with other facts, and what reading a sample raises.
    """
    out.mkdir(parents=True, exist_ok=True)
    num_parts = -(-loader.catalog.table.num_rows // asked.rows_per_part)
    facts = {**facts, "catalog": whole_hash(loader.catalog), "num_parts": num_parts}
    _check_settings(out / SETTINGS, facts)
    missing = [number for number in range(num_parts) if not part_path(out, number).exists()]
    if missing:
        told = _told(asked, loader, out, missing, num_workers, gpus_per_worker)
        for _ in track(told, "asking the teacher", total=len(missing)):
            pass  # each turn is a part that is written
    seal(out, {**facts, "num_samples": loader.catalog.table.num_rows, "code": code_hash()})


def select_splits(catalog: Catalog, splits: Sequence[str]) -> Catalog:
    """Return the rows of several splits under one hash; raise ValueError for a split that is not there."""
    for split in splits:
        catalog.select(split)
    names = catalog.table["split"].to_pylist()
    table = catalog.table.filter(np.isin(names, splits))
    return replace(catalog, table=table, hash=f"{catalog.hash}/{json.dumps(sorted(splits))}")


def whole_hash(catalog: Catalog) -> str:
    """Return the hash of the catalog that a selection was made from."""
    return catalog.hash.partition("/")[0]


def _told(
    asked: Asked, loader: Loader, out: Path, numbers: Sequence[int], num_workers: int, gpus: float
) -> Iterator[None]:
    """Have parts written; yield as each ends."""
    teacher = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=2, max_task_retries=2)(Teacher)
    actors = [
        teacher.remote(asked, loader, out, "cuda" if gpus else "cpu") for _ in range(min(num_workers, len(numbers)))
    ]
    pool = ray.util.ActorPool(actors)
    yield from pool.map_unordered(lambda actor, number: actor.write.remote(number), list(numbers))


def _check_settings(path: Path, facts: Mapping[str, Any]) -> None:
    """Refuse to mix answers to different questions in one folder: name what differs."""
    if path.exists():
        before = json.loads(path.read_text())
        changed = [f"{name}: {before.get(name)} -> {facts[name]}" for name in facts if before.get(name) != facts[name]]
        if changed:
            raise ValueError(
                f"{path.parent} was begun with other settings ({'; '.join(changed)}); choose another folder"
            )
    path.write_text(json.dumps(dict(facts), indent=1))
