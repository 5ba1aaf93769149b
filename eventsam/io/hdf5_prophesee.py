"""Prophesee's HDF5 event files: `CD/events` of compounds (x, y, p, t us), and `EXT_TRIGGER/events` (p, t, id).

The metadata of a RAW file's header are attributes of the root: the sensor size is in `geometry` (`1280x720`) or in
`format` (`...;height=720;width=1280`). Files as the camera software writes them need Prophesee's ECF filter, which is
no Python package; without it the error says what to install. The `indexes` datasets are not needed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eventsam.io.block_recording import BlockRecording
from eventsam.io.column_blocks import ColumnSource
from eventsam.io.format import Format
from eventsam.io.hdf5_columns import TableColumns
from eventsam.io.hdf5_file import Hdf5File, dataset_shapes, is_hdf5
from eventsam.io.hdf5_generic import stated_size
from eventsam.io.named_columns import Clock
from eventsam.io.recording import OpenOptions, RecordingError, Triggers
from eventsam.io.sidecar import sidecar_size


class PropheseeHdf5Recording(BlockRecording):
    """A Prophesee HDF5 event file, with its external triggers."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open the file; raise RecordingError where it is faulty or its filter is not installed."""
        self._file = Hdf5File(path)
        columns = TableColumns(self._file, "CD/events", ("x", "y", "t", "p"))
        size = options.size(path, stated_size(self._file, "CD") or self._geometry() or sidecar_size(path.parent))
        source = ColumnSource(path, columns, Clock.of(columns.time_dtype), "prophesee_hdf5", options.index_folder)
        super().__init__("prophesee_hdf5", path, size, source, options)

    def triggers(self) -> Triggers:
        """Return the external triggers."""
        name = "EXT_TRIGGER/events"
        if name not in dataset_shapes(self._file.path):
            return Triggers.empty()
        array = self._file.array(name)
        fields: Mapping[str, Any] = array.dtype.fields or {}
        if any(field not in fields or fields[field][0].kind not in "iu" for field in ("p", "t", "id")):
            raise RecordingError(f"{self._file.path}: {name} holds {array.dtype}, expected integers p, t, id")
        rows = array.read(0, len(array))
        return Triggers(rows["t"].astype(np.int64), rows["id"].astype(np.uint8), (rows["p"] > 0).astype(np.uint8))

    def _geometry(self) -> tuple[int, int] | None:
        geometry = re.fullmatch(r"\s*(\d{1,5})x(\d{1,5})\s*", self._file.text("@geometry") or "")
        if geometry:
            return int(geometry[2]), int(geometry[1])
        words = re.findall(r"(height|width)=(\d{1,5})\b", self._file.text("@format") or "")
        sides = {name: int(value) for name, value in words}
        return (sides["height"], sides["width"]) if len(sides) == 2 else None


def _matches(path: Path, start: bytes) -> bool:
    return is_hdf5(start) and "CD/events" in dataset_shapes(path)


FORMATS = (Format("prophesee_hdf5", "Prophesee HDF5", (), _matches, PropheseeHdf5Recording),)
