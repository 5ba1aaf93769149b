"""Rendered objects with known geometry: sharp and blurry frames, events, masks, points, pose and occupancy."""

import os
import resource
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from eventsam.dataset import INDEX_COLUMNS
from eventsam.events import Events
from eventsam.sample import Sample, check_key
from eventsam.simulate.edi import deblur
from eventsam.simulate.objects import SHARD_FOLDER
from eventsam.simulate.settings import RenderSettings
from eventsam.simulate.shard import Shard

MAX_OPEN_SHARDS = max(16, min(768, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
"""Shards kept open per process, about 1 MiB each; never more than half of the files that a process may open."""
EXTRA_COLUMNS: Mapping[str, pa.DataType] = {"blur": pa.string(), "trajectory": pa.int64(), "frame": pa.int64()}
_open_shards: OrderedDict[tuple[int, str], tuple[tuple[int, int, int], Shard]] = OrderedDict()


@dataclass(frozen=True)
class Synthetic:
    """The catalog entry. A row is one (object, trajectory, target frame, blur level).

    Columns beyond the usual: `blur` (easy, medium, hard), `trajectory`, `frame`.
    """

    name: str = "synthetic"
    sensor: str = "simulated event camera (v2e pixel model) with frames, 64 x 64 pixels unless rendered otherwise"
    splits: tuple[str, ...] = ("train", "val", "test")
    licence: str = "procedural objects: none needed; rendered mesh files keep the licence of the mesh"
    citation: str = "Hu, Liu, Delbruck: v2e: From Video Frames to Realistic DVS Events, CVPRW 2021 (pixel model)"
    provides: tuple[str, ...] = (
        "rgb",
        "rgb_blurry",
        "rgb_edi",
        "mask",
        "mask_blurry",
        "pointmap",
        "occupancy",
        "pose",
        "events",
    )

    def index(self, root: Path) -> pa.Table:
        """List the samples of every shard below `root`, by object id; raise ValueError naming a faulty shard."""
        paths = sorted((root / SHARD_FOLDER).glob("*.h5"))
        if not paths:
            raise ValueError(f"{root / SHARD_FOLDER}: holds no shard (*.h5)")
        schema = pa.schema(list({**INDEX_COLUMNS, **EXTRA_COLUMNS}.items()))
        return pa.concat_tables([_shard_rows(path, root).cast(schema) for path in paths])

    def read(self, root: Path, row: Mapping[str, Any], keys: Collection[str]) -> Sample:
        """Read the named keys of one row; raise KeyError for a key not provided, ValueError for a faulty shard."""
        for key in keys:
            check_key(key)
            if key not in _READERS:
                raise KeyError(f"dataset {self.name!r} does not provide {key!r} (it provides: {', '.join(_READERS)})")
        shard = _open(root / row["shard"])
        place = shard.place(int(row["trajectory"]), int(row["frame"]))
        level = 1 + _level(shard, str(row["blur"]))
        return {key: _READERS[key](shard, row, place, level) for key in keys}

    def events(self, root: Path, row: Mapping[str, Any], t0: int, t1: int) -> Events:
        """Read the events of the row's trajectory with t in [t0, t1) us."""
        return _open(root / row["shard"]).events(int(row["trajectory"]), t0, t1)


DATASET = Synthetic()


def _shard_rows(path: Path, root: Path) -> pa.Table:
    shard = Shard(path)
    try:
        object_id, split = shard.attribute("object_id"), shard.attribute("split")
        levels = np.array(shard.settings["blur_levels"])
        _, trajectory, frame, level, t_us, start, stop, num_events = shard.samples.T
    finally:
        shard.close()
    blur = levels[level]
    num = len(frame)
    sample_id = [f"{object_id}/{k}/{f:04d}/{name}" for k, f, name in zip(trajectory, frame, blur, strict=True)]
    return pa.table(
        {
            "sample_id": sample_id,
            "object_id": [object_id] * num,
            "shard": [path.relative_to(root).as_posix()] * num,
            "t_us": t_us,
            "exposure_start_us": start,
            "exposure_end_us": stop,
            "num_events": num_events,
            "split": [split] * num,
            "blur": blur,
            "trajectory": trajectory,
            "frame": frame,
        }
    )


def _open(path: Path) -> Shard:
    """An open shard from this process's cache; a file that was rendered anew is opened anew."""
    key = (os.getpid(), str(path))
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such shard (is the catalog complete?)") from None
    version = (status.st_ino, status.st_mtime_ns, status.st_size)
    known = _open_shards.get(key)
    if known is not None and known[0] == version:
        _open_shards.move_to_end(key)
        return known[1]
    shard = Shard(path)
    _open_shards[key] = (version, shard)
    if len(_open_shards) > MAX_OPEN_SHARDS:
        _open_shards.popitem(last=False)[1][1].close()
    return shard


def _level(shard: Shard, blur: str) -> int:
    levels: list[str] = shard.settings["blur_levels"]
    if blur not in levels:
        raise ValueError(f"{shard.path}: unknown blur level {blur!r} (rendered: {', '.join(levels)})")
    return levels.index(blur)


def _edi(shard: Shard, row: Mapping[str, Any], place: int, level: int) -> np.ndarray[Any, Any]:
    start, stop = int(row["exposure_start_us"]), int(row["exposure_end_us"])
    sensor = RenderSettings.from_json(shard.settings).pixel_model
    events = shard.events(int(row["trajectory"]), start, stop)
    return deblur(shard.image(place, level), events, start, stop, int(row["t_us"]), sensor.nominal_threshold)


_READERS: Mapping[str, Callable[[Shard, Mapping[str, Any], int, int], np.ndarray[Any, Any]]] = {
    "rgb": lambda shard, row, place, level: shard.image(place, 0),
    "rgb_blurry": lambda shard, row, place, level: shard.image(place, level),
    "rgb_edi": _edi,
    "mask": lambda shard, row, place, level: shard.mask(place, 0),
    "mask_blurry": lambda shard, row, place, level: shard.mask(place, level),
    "pointmap": lambda shard, row, place, level: shard.pointmap(place),
    "occupancy": lambda shard, row, place, level: shard.occupancy(),
    "pose": lambda shard, row, place, level: shard.pose(place),
}
