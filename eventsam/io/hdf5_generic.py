"""HDF5 recordings of columns: x, y, t, p as datasets of one group, as RVT, e2calib, M3ED and TUM-VIE store them.

The group may be the root, `events`, or any other; `stream` picks one where there are several (`prophesee/left`). Names
are those of `named_columns`. Integer times are microseconds and floats are seconds, unless the time's name (`t_ns`) or
its attribute `unit` says otherwise; MATLAB's (v7.3), which are always floats, are microseconds where they are whole.
The sensor size is read from `height` and `width` (datasets or attributes of the group or of the root), from M3ED's
`calib/resolution`, or comes from the options or a sidecar.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import numpy as np

from eventsam.events import Events
from eventsam.io.block_recording import BlockRecording
from eventsam.io.format import Format
from eventsam.io.hdf5_columns import DatasetColumns, MillisecondSource
from eventsam.io.hdf5_file import Hdf5Array, Hdf5File, dataset_shapes, is_hdf5
from eventsam.io.hdf5_write import ColumnFile, EventColumn
from eventsam.io.named_columns import SIZE_NAMES, Clock, ColumnNames, Unit, choose_stream, match_columns, whole_clock
from eventsam.io.recording import OpenOptions, RecordingError
from eventsam.io.sidecar import sidecar_size

CLAIMED = ("CD/events", "davis/left/events", "davis/right/events")
"""Datasets that mark the layouts of other readers."""


def open_generic(path: Path, options: OpenOptions) -> BlockRecording:
    """Open a recording of columns; raise RecordingError where there are none, or several and none is chosen."""
    file = Hdf5File(path)
    groups = column_groups(path)
    with file.reading("the file"):
        pass
    holds = ", ".join(f"{name} {shape}" for name, shape in dataset_shapes(path).items())[:500] or "no dataset"
    group = choose_stream(path, groups, options.stream, holds)
    names = groups[group]
    columns = DatasetColumns(file, names)
    size = options.size(path, stated_size(file, group) or _resolution(file, group) or sidecar_size(path.parent))
    source = MillisecondSource(
        path, columns, _clock(file, names, columns), f"hdf5:{group}", options, ms_index(file, group)
    )
    return BlockRecording("hdf5", path, size, source, options)


def column_groups(path: Path) -> dict[str, ColumnNames]:
    """Return the groups that hold the four columns, with the full names of these; the root's name is empty."""
    members: dict[str, list[str]] = {}
    for name in dataset_shapes(path):
        group, _, member = name.rpartition("/")
        members.setdefault(group, []).append(member)
    groups = {}
    for group, names in members.items():
        found = match_columns(names)
        if found is not None:
            start = f"{group}/" if group else ""
            x, y, t, p = (f"{start}{name}" for name in (found.x, found.y, found.t, found.p))
            groups[group] = ColumnNames(x, y, t, p, found.unit)
    return groups


def stated_size(file: Hdf5File, group: str) -> tuple[int, int] | None:
    """Return (height, width) from datasets or attributes of the group or the root; None where there is neither."""
    for place in dict.fromkeys((group, "")):
        start = f"{place}/" if place else ""
        for names in SIZE_NAMES:
            for form in ("{start}{name}", "{place}@{name}"):
                sides = [file.number(form.format(start=start, place=place, name=name)) for name in names]
                if sides[0] is not None and sides[1] is not None:
                    return sides[0], sides[1]
    return None


def ms_index(file: Hdf5File, group: str) -> Hdf5Array | None:
    """Return the dataset `ms_to_idx` of the group or the root where it can serve as an index."""
    shapes = dataset_shapes(file.path)
    for name in (f"{group}/ms_to_idx", "ms_to_idx"):
        if name in shapes and len(shapes[name]) == 1:
            array = file.array(name)
            return array if array.dtype.kind in "iu" else None
    return None


def _resolution(file: Hdf5File, group: str) -> tuple[int, int] | None:
    name = f"{group}/calib/resolution"
    if dataset_shapes(file.path).get(name) != (2,):
        return None
    width, height = file.array(name).read(0, 2)
    return int(height), int(width)


def _clock(file: Hdf5File, names: ColumnNames, columns: DatasetColumns) -> Clock:
    unit: Unit | None = names.unit
    stated = file.text(f"{names.t}@unit") or file.text(f"{names.t}@units")
    if stated is not None and unit is None:
        if stated not in get_args(Unit):
            raise RecordingError(f"{file.path}: {names.t} has unit {stated!r}, allowed: {', '.join(get_args(Unit))}")
        unit = next(known for known in get_args(Unit) if known == stated)
    if file.text(f"{names.t}@MATLAB_class") is not None:
        return whole_clock(columns.read_times(0, min(columns.num_events, columns.block_events)), unit)
    return Clock.of(columns.time_dtype, unit)


def _matches(path: Path, start: bytes) -> bool:
    """Take every HDF5 file that no other layout claims, so that what it lacks can be said."""
    if not is_hdf5(start):
        return False
    shapes = dataset_shapes(path)
    is_dsec = "t_offset" in shapes and "events" in column_groups(path)
    is_v2e = len(shapes.get("events", ())) == 2
    return not (is_dsec or is_v2e or any(name in shapes for name in CLAIMED))


def write_generic(path: Path, chunks: Iterable[Events], height: int, width: int) -> None:
    """Write `events/{x,y,t,p,height,width}` as RVT reads them: t int64 us; gzip, which every HDF5 reads."""
    settings = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    columns = [
        EventColumn("events/x", "x", np.uint16),
        EventColumn("events/y", "y", np.uint16),
        EventColumn("events/t", "t", np.int64),
        EventColumn("events/p", "p", np.uint8),
    ]
    with ColumnFile(path, columns, settings) as file:
        file.state_size(height, width)
        file.handle["events/height"], file.handle["events/width"] = height, width
        for chunk in chunks:
            file.append(chunk, chunk.t)


FORMATS = (Format("hdf5", "HDF5 columns (RVT, M3ED)", (".h5", ".hdf5"), _matches, open_generic, write_generic),)
