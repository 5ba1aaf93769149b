"""Where the index of a large recording is kept between runs: small arrays, valid for one version of one file."""

import hashlib
import logging
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.int64]]

VERSION = 1
"""Rises when a reader's index changes its meaning."""

logger = logging.getLogger(__name__)


def cached_index(path: Path, reader: str, folder: Path | None, build: Callable[[], Arrays]) -> Arrays:
    """Return the index of a file: from the folder where it lies there for this version of the file, else built anew.

    `reader` tells apart the formats and options that index the same file differently. The version of a file is its
    size and its time of change. A folder that cannot be written costs speed only; an index that cannot be read is
    built again.
    """
    status = path.stat()
    key = f"{VERSION}:{reader}:{path.resolve()}:{status.st_size}:{status.st_mtime_ns}"
    folder = folder if folder is not None else platformdirs.user_cache_path("eventsam") / "indexes"
    file = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    if file.is_file():
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s: the index of %s cannot be read (%s); building it again", file, path, error)
    index = build()
    try:
        _write(file, index)
    except OSError as error:
        logger.info("the index of %s is not kept: %s", path, error)
    return index


def _write(file: Path, index: Arrays) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may index the same file: each writes its own and the last rename wins, whole.
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as temporary:
        try:
            np.savez(temporary, **index)  # type: ignore[arg-type]
            temporary.close()
            Path(temporary.name).replace(file)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise
