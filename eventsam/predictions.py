"""Predicted shapes on disk: a mesh and the logits of every input, in a folder named by the sample."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from eventsam.metrics.surface import grid_mesh
from eventsam.unknown_name import unknown_name

MeshFormat = Literal["ply", "glb"]
SAMPLES_NAME = "samples.json"
LOGITS_NAME = "occupancy.safetensors"


@dataclass(frozen=True)
class Predictions:
    """Where predictions go: `folder`/<sample id>/<input>.ply beside occupancy.safetensors.

    The safetensors file holds "<input>" (R, R, R) float16 logits (filled above 0) and "truth" uint8, and names its
    sample id. PLY keeps the cube's axes, z up; GLB turns them to y up, as glTF has it. An empty shape has no mesh.
    Sample ids come from the folder's samples.json (`prepare`), since a batch knows its samples by number alone.
    Raises ValueError for an unknown format.
    """

    folder: str
    mesh_format: MeshFormat = "ply"

    def __post_init__(self) -> None:
        if self.mesh_format not in get_args(MeshFormat):
            raise ValueError(unknown_name("mesh format", self.mesh_format, get_args(MeshFormat)))

    def prepare(self, sample_ids: Sequence[str]) -> None:
        """Write down which sample each index means."""
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SAMPLES_NAME).write_text(json.dumps(list(sample_ids)))

    def write(self, sample_index: Tensor, logits: Mapping[str, Tensor], truth: Tensor) -> None:
        """Write the logits (B, R, R, R) of every input and the true grids (B, R, R, R) of some samples."""
        names = _sample_ids(Path(self.folder) / SAMPLES_NAME)
        for place, index in enumerate(sample_index.tolist()):
            shapes = {name: values[place].detach().cpu() for name, values in logits.items()}
            self._write_one(names[index], shapes, truth[place].cpu())

    def _write_one(self, sample_id: str, logits: Mapping[str, Tensor], truth: Tensor) -> None:
        folder = Path(self.folder) / folder_of(sample_id)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: values.to(torch.float16).contiguous() for name, values in logits.items()}
        tensors["truth"] = truth.to(torch.uint8).contiguous()
        frame = {"sample_id": sample_id, "frame": "cube [-0.5, 0.5]^3, axes x, y, z (z up)", "filled": "above 0"}
        save_file(tensors, folder / LOGITS_NAME, metadata=frame)
        for name, values in (*logits.items(), ("truth", truth)):
            write_mesh(folder / f"{name}.{self.mesh_format}", (values > 0).numpy())


def folder_of(sample_id: str) -> Path:
    """Return a sample's folder: its id's parts, with odd characters replaced; raise ValueError for one that is none."""
    parts = [re.sub(r"[^\w.+-]", "_", part) for part in sample_id.split("/") if part]
    if not parts or any(set(part) <= {"."} for part in parts):
        raise ValueError(f"sample id {sample_id!r} names no folder")
    return Path(*parts)


def write_mesh(path: Path, occupancy: NDArray[np.bool_]) -> None:
    """Write a grid's surface as PLY (z up) or GLB (y up), by the path's suffix; nothing for an empty grid."""
    vertices, faces = grid_mesh(occupancy)
    if not len(faces):
        return
    if path.suffix == ".glb":
        vertices = np.stack([vertices[:, 0], vertices[:, 2], -vertices[:, 1]], axis=-1)
    trimesh.Trimesh(vertices, faces, process=False).export(path)


@cache
def _sample_ids(path: Path) -> list[str]:
    ids: list[str] = json.loads(path.read_text())
    return ids
