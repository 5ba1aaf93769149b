"""A file as an array of bytes that the system reads when they are looked at."""

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def map_file(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of a file, read-only, without reading them; an empty file gives an empty array."""
    with path.open("rb") as file:
        # An empty file cannot be mapped.
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
    return np.frombuffer(content, np.uint8)
