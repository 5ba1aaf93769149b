"""The colours that a mesh file brings: texture picture, vertex, face or material colours, else a drawn pattern."""

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from eventsam.simulate.appearance import Appearance, CornerColours, TextureImage, solid_patterns
from eventsam.simulate.palette import random_pattern

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_TEXTURE_SIDE = 1024
"""Larger pictures are reduced at loading: a rendered object covers far fewer pixels, and unreduced texels flicker."""


def read_appearance(mesh: trimesh.Trimesh, path: Path, seed: int) -> Appearance:
    """Return the colours of a freshly read mesh, one entry per face as read; raise ValueError for a broken picture."""
    visual = mesh.visual
    coordinates = getattr(visual, "uv", None)
    if coordinates is not None and len(coordinates) == len(mesh.vertices):
        picture = _picture(visual.material, path)
        if picture is not None:
            corners = np.asarray(coordinates, np.float32)[np.asarray(mesh.faces)]
            return TextureImage(picture, np.ascontiguousarray(corners))
    if visual.kind in ("vertex", "face"):
        return CornerColours(_corner_colours(mesh))
    colour = _material_colour(getattr(visual, "material", None))
    if colour is not None:
        return CornerColours(np.broadcast_to(colour, (len(mesh.faces), 3, 3)).astype(np.float32))
    pattern = random_pattern(np.random.default_rng([seed, 0x7E87]))
    return solid_patterns([pattern], np.zeros(len(mesh.faces), np.int32))


def _corner_colours(mesh: trimesh.Trimesh) -> NDArray[np.float32]:
    if mesh.visual.kind == "vertex":
        colours = np.asarray(mesh.visual.vertex_colors)[np.asarray(mesh.faces), :3]
    else:
        colours = np.repeat(np.asarray(mesh.visual.face_colors)[:, None, :3], 3, axis=1)
    return np.asarray(colours / 255, dtype=np.float32)


def _picture(material: Any, path: Path) -> NDArray[np.uint8] | None:
    """The material's picture, or the only picture beside the file where the material names none."""
    image = getattr(material, "image", None) or getattr(material, "baseColorTexture", None)
    # trimesh stands a 2x2 grey picture in where a material file is missing.
    if image is not None and min(image.size) > 2:
        return _reduced(image, path)
    beside = sorted(file for file in path.parent.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
    return _reduced_file(beside[0]) if len(beside) == 1 else None


def _reduced_file(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return _reduced(image, path)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not a readable texture picture ({error})") from error


def _reduced(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """The picture as (H, W, 3), averaged down to at most 1024 pixels a side."""
    try:
        factor = max(1, -(-max(image.size) // MAX_TEXTURE_SIDE))
        converted = image.convert("RGB")
        return np.asarray(converted.reduce(factor) if factor > 1 else converted, dtype=np.uint8).copy()
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: its texture picture cannot be read ({error})") from error


def _material_colour(material: Any) -> NDArray[np.float32] | None:
    """A material's own colour, or None for the loader's stand-in (a grey of equal channels says nothing)."""
    colour = getattr(material, "main_color", None)
    if colour is None or len(set(np.asarray(colour)[:3].tolist())) == 1:
        return None
    return np.asarray(np.asarray(colour)[:3] / 255, dtype=np.float32)
