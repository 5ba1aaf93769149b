"""Real damage to a rendered shard: a compressed image overwritten with noise, the file's structure left whole."""

from pathlib import Path

import h5py
import numpy as np


def damage_image(path: Path, place: int, plane: int) -> None:
    """Overwrite one image (plane 0 sharp, then the blurry ones) of a shard's target frame."""
    with h5py.File(path, "r") as file:
        chunk = file["images"].id.get_chunk_info_by_coord((place, plane, 0, 0, 0))
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(np.random.default_rng(0).bytes(chunk.size))
