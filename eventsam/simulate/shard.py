"""One object's recordings in one HDF5 file: written whole or not at all, read sample by sample.

Layout, N = trajectories x targets, L blur levels, T frames:
  attributes   schema_version, object_id, split, settings (JSON), settings_hash, source (JSON), details (JSON)
  samples      (N * L, 8) int64: see `SAMPLE_COLUMNS`; one row per target frame and blur level
  images       (N, 1 + L, 3, H, W) uint8: the sharp frame, then one blurry frame per level
  masks        (N, 1 + L, bytes) uint8: packed bits of (H, W)
  pointmap     (N, 3, H, W) float16;  pose (N, 4, 4) float32;  occupancy (bytes,) uint8, packed bits
  events       (E, 2) uint32: p << 31 | y << 16 | x, and us since the path's start; one path after the other
  event_places (trajectories, T + 1) int64: the first event at or after each frame's time, last the path's end
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from eventsam.events import Events
from eventsam.simulate.occupancy import Grid, unpack_occupancy

SCHEMA_VERSION = 1
SAMPLE_COLUMNS = ("place", "trajectory", "frame", "level", "t_us", "exposure_start_us", "exposure_end_us", "num_events")


@dataclass(frozen=True)
class ShardContent:
    """What a shard holds, by the names of its layout; see the module's first lines."""

    attributes: Mapping[str, str]
    samples: NDArray[np.int64]
    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    pointmap: NDArray[np.float16]
    pose: NDArray[np.float32]
    occupancy: NDArray[np.uint8]
    events: NDArray[np.uint32]
    event_places: NDArray[np.int64]


def pack_events(events: Events) -> NDArray[np.uint32]:
    """Events with times from 0 to 71 minutes and rows below 32768 as (E, 2) words."""
    word = events.x.astype(np.uint32) | events.y.astype(np.uint32) << 16 | events.p.astype(np.uint32) << 31
    return np.stack([word, events.t.astype(np.uint32)], axis=-1)


def unpack_events(words: NDArray[np.uint32], height: int, width: int) -> Events:
    """Undo `pack_events`."""
    word = words[:, 0]
    y = (word >> 16 & 0x7FFF).astype(np.uint16)
    return Events(word.astype(np.uint16), y, words[:, 1].astype(np.int64), (word >> 31).astype(np.uint8), height, width)


def write_shard(path: Path, content: ShardContent) -> None:
    """Write a shard under a temporary name, flush it to disk and rename it, so that a shard is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with h5py.File(temporary, "w", libver="latest") as file:
            _fill(file, content)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _fill(file: h5py.File, content: ShardContent) -> None:
    file.attrs["schema_version"] = SCHEMA_VERSION
    for name, value in content.attributes.items():
        file.attrs[name] = value
    for name in ("samples", "pose", "event_places"):
        file.create_dataset(name, data=getattr(content, name))
    codec = hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.NOSHUFFLE)
    planes = hdf5plugin.Blosc(cname="zstd", clevel=3, shuffle=hdf5plugin.Blosc.BITSHUFFLE)
    images, masks, pointmap = content.images, content.masks, content.pointmap
    file.create_dataset("images", data=images, chunks=(1, 1, *images.shape[2:]), **planes)
    file.create_dataset("masks", data=masks, chunks=(1, *masks.shape[1:]), **codec)
    file.create_dataset("pointmap", data=pointmap, chunks=(1, *pointmap.shape[1:]), **planes)
    file.create_dataset("occupancy", data=content.occupancy, chunks=content.occupancy.shape, **codec)
    chunk = (max(1, min(8192, len(content.events))), 2)
    file.create_dataset("events", data=content.events, chunks=chunk, maxshape=(None, 2), **planes)


class Shard:
    """An open shard. Small tables are read on first use and kept; images and events are read from disk when asked."""

    def __init__(self, path: Path) -> None:
        """Open the file; raise ValueError naming it where it is missing, cut short or of another schema."""
        self.path = path
        if not path.is_file():
            raise ValueError(f"{path}: no such shard (is the catalog complete?)")
        try:
            self._file = h5py.File(path, "r")
            version = int(self._file.attrs["schema_version"])
        except (OSError, KeyError) as error:
            raise ValueError(f"{path}: not a readable shard, perhaps cut short ({error})") from error
        if version != SCHEMA_VERSION:
            raise ValueError(f"{path}: schema version is {version}, this code reads {SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def attribute(self, name: str) -> str:
        """A text attribute, such as object_id, split or settings_hash."""
        try:
            return str(self._file.attrs[name])
        except (OSError, KeyError) as error:
            raise ValueError(f"{self.path}: its attribute {name!r} cannot be read ({error})") from error

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The render settings as stored."""
        settings: dict[str, Any] = json.loads(self.attribute("settings"))
        return settings

    @cached_property
    def samples(self) -> NDArray[np.int64]:
        """The table of samples, (N * L, 8)."""
        return np.asarray(self._read("samples", ()))

    @cached_property
    def _places(self) -> dict[tuple[int, int], int]:
        return {(int(row[1]), int(row[2])): int(row[0]) for row in self.samples}

    @cached_property
    def _event_places(self) -> NDArray[np.int64]:
        return np.asarray(self._read("event_places", ()))

    @cached_property
    def _poses(self) -> NDArray[np.float32]:
        return np.asarray(self._read("pose", ()))

    @cached_property
    def _datasets(self) -> dict[str, Any]:
        return {}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.settings["height"]), int(self.settings["width"])

    def place(self, trajectory: int, frame: int) -> int:
        """Number of a target frame in the arrays; raise ValueError for one that the shard does not hold."""
        try:
            return self._places[trajectory, frame]
        except KeyError:
            raise ValueError(f"{self.path}: holds no target frame {frame} of trajectory {trajectory}") from None

    def image(self, place: int, level: int) -> NDArray[np.uint8]:
        """The sharp frame (level 0) or the blurry frame of level 1.. : (3, H, W)."""
        return np.asarray(self._read("images", (place, level)))

    def mask(self, place: int, level: int) -> NDArray[np.uint8]:
        """The mask of an image, 0 or 1: (1, H, W)."""
        height, width = self.size
        bits = np.unpackbits(self._read("masks", (place, level)), count=height * width)
        return bits.reshape(1, height, width)

    def pointmap(self, place: int) -> NDArray[np.float32]:
        """Camera-frame points, NaN outside the object: (3, H, W)."""
        points: NDArray[np.float32] = self._read("pointmap", (place,)).astype(np.float32)
        return points

    def pose(self, place: int) -> NDArray[np.float32]:
        """Object frame to camera frame: (4, 4)."""
        pose: NDArray[np.float32] = self._poses[place]
        return pose.copy()

    def occupancy(self) -> Grid:
        """The object's grid: (R, R, R) bool."""
        return unpack_occupancy(self._read("occupancy", ()), int(self.settings["occupancy_resolution"]))

    def events(self, trajectory: int, t0: int, t1: int) -> Events:
        """The events of a path with t in [t0, t1) us; raise ValueError for t1 < t0."""
        if t1 < t0:
            raise ValueError(f"a window ends after it starts, got [{t0}, {t1})")
        places = self._event_places[trajectory]
        interval = int(self.settings["frame_interval_us"])
        first = places[min(max(t0 // interval, 0), len(places) - 1)]
        last = places[min(max(-(-t1 // interval), 0), len(places) - 1)]
        words = self._read("events", (slice(int(first), int(last)),))
        return unpack_events(words, *self.size).between(t0, t1)

    def _read(self, name: str, where: tuple[Any, ...]) -> NDArray[Any]:
        """Read part of a dataset; raise ValueError naming the file where its bytes are damaged."""
        try:
            dataset = self._datasets.get(name)
            if dataset is None:
                dataset = self._datasets[name] = self._file[name]
            return np.asarray(dataset[where])
        except (OSError, KeyError) as error:
            raise ValueError(f"{self.path}: {name} cannot be read ({error})") from error
