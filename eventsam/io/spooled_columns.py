"""Columns of events written to temporary files, for formats that store one whole column after another."""

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO

import numpy as np

from eventsam.events import Events

STORED: dict[str, np.dtype[Any]] = {
    "x": np.dtype("<u2"),
    "y": np.dtype("<u2"),
    "t": np.dtype("<i8"),
    "p": np.dtype("<u1"),
}
"""The columns' dtypes, little-endian."""


class SpooledColumns:
    """The columns x, y, t, p of all chunks, little-endian, each in a temporary file in the target's folder."""

    def __init__(self, folder: Path, chunks: Iterable[Events]) -> None:
        """Write the columns; the files vanish when the context ends."""
        self.num_events = 0
        self._open = ExitStack()
        try:
            self._files: dict[str, IO[bytes]] = {
                name: self._open.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
                for name in STORED
            }
            for chunk in chunks:
                self.num_events += len(chunk)
                for name, dtype in STORED.items():
                    self._files[name].write(getattr(chunk, name).astype(dtype, copy=False).data)
        except BaseException:
            self._open.close()
            raise

    def copy(self, name: str, target: IO[bytes] | BinaryIO) -> None:
        """Append a whole column to an open file."""
        self._files[name].seek(0)
        shutil.copyfileobj(self._files[name], target, 1 << 20)

    def __enter__(self) -> "SpooledColumns":
        """Return the columns."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the temporary files."""
        self._open.close()
