"""The HDF5 output of v2e (Hu et al., CVPRW 2021): one dataset `events` (N, 4) uint32 with columns t (us), x, y, p.

The file states no sensor size: it comes from the options or a sidecar.
"""

from pathlib import Path

from eventsam.io.block_recording import BlockRecording
from eventsam.io.column_blocks import ColumnSource
from eventsam.io.format import Format
from eventsam.io.hdf5_columns import TableColumns
from eventsam.io.hdf5_file import Hdf5File, dataset_shapes, is_hdf5
from eventsam.io.hdf5_generic import stated_size
from eventsam.io.named_columns import Clock
from eventsam.io.recording import OpenOptions, RecordingError
from eventsam.io.sidecar import sidecar_size


def open_v2e(path: Path, options: OpenOptions) -> BlockRecording:
    """Open v2e's events; raise RecordingError for a faulty file, and for floats: their columns' order is not known."""
    file = Hdf5File(path)
    columns = TableColumns(file, "events", (1, 2, 0, 3))
    if columns.time_dtype.kind not in "iu":
        raise RecordingError(
            f"{path}: events is an (N, 4) table of {columns.time_dtype}, expected v2e's integers (t, x, y, p)"
        )
    size = options.size(path, stated_size(file, "") or stated_size(file, "events") or sidecar_size(path.parent))
    source = ColumnSource(path, columns, Clock("us"), "v2e_hdf5", options.index_folder)
    return BlockRecording("v2e_hdf5", path, size, source, options)


def _matches(path: Path, start: bytes) -> bool:
    return is_hdf5(start) and len(dataset_shapes(path).get("events", ())) == 2


FORMATS = (Format("v2e_hdf5", "v2e HDF5", (), _matches, open_v2e),)
