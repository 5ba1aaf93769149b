"""Where an object comes from: a mesh file or the procedural generator."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eventsam.simulate.meshes import TexturedMesh, Up, load_mesh
from eventsam.simulate.procedural import draw_family, procedural_mesh

MESH_SUFFIXES = (".obj", ".ply", ".off", ".stl", ".glb", ".gltf")


class ObjectSource(Protocol):
    """Makes the mesh of one object; its place in the catalog decides its split where `split` does not."""

    @property
    def index(self) -> int:
        """Place in the catalog, from 0."""

    @property
    def split(self) -> str | None:
        """The split that the object is put in, or None for the settings' shares."""

    def mesh(self, generator: np.random.Generator) -> TexturedMesh:
        """Return the normalised mesh; all randomness comes from the generator."""

    def to_json(self) -> dict[str, Any]:
        """What is stored about the source."""


@dataclass(frozen=True)
class ProceduralSource:
    """A random textured solid; `family` restricts it to one kind of `procedural.FAMILIES`."""

    index: int
    family: str | None = None
    split: str | None = None

    def mesh(self, generator: np.random.Generator) -> TexturedMesh:
        """See `ObjectSource.mesh`."""
        return procedural_mesh(generator, self.family or draw_family(generator))

    def to_json(self) -> dict[str, Any]:
        """See `ObjectSource.to_json`."""
        return {"kind": "procedural", "index": self.index, "family": self.family, "split": self.split}


@dataclass(frozen=True)
class MeshSource:
    """A mesh file and the axis that points up in it."""

    index: int
    path: Path
    up: Up = "y"
    allow_open: bool = False
    split: str | None = None

    def mesh(self, generator: np.random.Generator) -> TexturedMesh:
        """See `ObjectSource.mesh`."""
        seed = int(generator.integers(2**31))
        return load_mesh(self.path, self.up, seed=seed, allow_open=self.allow_open)

    def to_json(self) -> dict[str, Any]:
        """See `ObjectSource.to_json`; the file's content counts, not its folder."""
        if not self.path.is_file():
            raise ValueError(f"{self.path}: no such mesh file")
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {
            "kind": "mesh",
            "index": self.index,
            "file": self.path.name,
            "sha256": digest,
            "up": self.up,
            "allow_open": self.allow_open,
            "split": self.split,
        }


def procedural_sources(num_objects: int) -> dict[str, ObjectSource]:
    """Object ids and sources of a procedural catalog."""
    return {f"procedural-{index:05d}": ProceduralSource(index) for index in range(num_objects)}


def mesh_sources(
    folder: Path,
    up: Up = "y",
    z_up: Sequence[str] = (),
    allow_open: bool = False,
    split: str | None = None,
) -> dict[str, ObjectSource]:
    """Object ids and sources of every mesh file below a folder, by path.

    `z_up` lists patterns of relative paths ("ycb/*") whose meshes have z up, whatever `up` says; `split` puts them all
    there. Ids are the relative paths without suffix, joined by "-". Raises ValueError for a folder without meshes or
    two files with one id.
    """
    files = (
        sorted(path for path in folder.rglob("*") if path.suffix.lower() in MESH_SUFFIXES) if folder.is_dir() else []
    )
    if not files:
        raise ValueError(f"{folder}: holds no mesh (allowed: {', '.join(MESH_SUFFIXES)})")
    sources: dict[str, ObjectSource] = {}
    for index, path in enumerate(files):
        relative = path.relative_to(folder)
        name = "-".join(relative.with_suffix("").parts).replace(" ", "_")
        if name in sources:
            raise ValueError(f"{path}: its object id {name!r} is taken by another file; rename one of them")
        axis: Up = "z" if any(fnmatch(relative.as_posix(), pattern) for pattern in z_up) else up
        sources[name] = MeshSource(index, path, axis, allow_open, split)
    return sources
