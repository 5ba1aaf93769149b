"""Recordings of DAVIS cameras (events and frames of one sensor): AEDAT 4 files and Event Camera Dataset folders."""

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eventsam.dataset import INDEX_COLUMNS
from eventsam.events import Events
from eventsam.io.detect import open_recording
from eventsam.io.recording import Frame, Recording
from eventsam.io.rectify import Rectification, rectification
from eventsam.io.text import TextRecording, read_calibration
from eventsam.sample import Sample
from eventsam.unknown_name import unknown_name
from eventsam.windows import Window

SURROUNDINGS = Window(50.0)
"""A frame without an event in this window around it gives no row."""
VAL_SHARE = 5
"""One in this many recordings (or last frames of a lone recording), and at least one, is kept for validation."""
MAX_OPEN = 4
"""Recordings that a process keeps open; text recordings hold their events in memory."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Davis:
    """Every frame of the recordings below a folder, with the events around it.

    Read are `*.aedat4` files, and folders with `events.txt` and frames (`frame.png`, or `images.txt` and the files it
    names), anywhere below the root. `object_id` is the recording's path below the root.

    - Time: an AEDAT 4 frame's is the middle of its exposure, which the file states. `images.txt` states one time per
      frame. A lone `frame.png` has none: the middle of the events' span is taken. Where the exposure is not stated it
      has length 0 and `num_events` (events in the exposure) is 0; `num_events_around` counts 50 ms around the frame.
    - Alignment: `frame.png` is rectified and `events.txt` is not, so with a `calib.txt` the events are moved to their
      rectified pixels (nearest; those that land outside are dropped: 2 to 7 % of the four rotation recordings). Checked
      on those four: the frame's gradient correlates with the events within 3 ms of mid-span, both locally normalised,
      by 0.45 to 0.58, against 0.01 to 0.07 in raw coordinates. With the events moved along the known rotation, the best
      match lies 1 to 5 ms after mid-span (0.55 to 0.70 of the span) and is 0.03 better at most: that is how well the
      frame's time is known.
    - `rgb` and `rgb_blurry` are the same frame: a camera takes one picture. `mask` and `mask_blurry` are all ones: no
      object is outlined. Grey frames are repeated to three channels.
    - Splits: with several recordings, whole ones go to `val` (one in five, at least one, picked by a hash of their
      names). Of a lone recording the last fifth of the frames goes to `val`, at least one where it has two; its first
      window can share events with the last of `train`, so it watches training and measures nothing.
    """

    name: str = "davis"
    sensor: str = "DAVIS240C (180x240), DAVIS346 (260x346): height and width are read from each recording"
    splits: tuple[str, ...] = ("train", "val")
    licence: str = "that of each recording (Event Camera Dataset: CC BY-NC-SA 3.0)"
    citation: str = (
        "Mueggler et al., The Event-Camera Dataset and Simulator, IJRR 2017 (text folders); "
        "Brandli et al., A 240x180 130 dB 3 us Latency Global Shutter Spatiotemporal Vision Sensor, JSSC 2014 (sensor)"
    )
    provides: tuple[str, ...] = ("rgb", "rgb_blurry", "mask", "mask_blurry", "events")

    def index(self, root: Path) -> pa.Table:
        """Return one row per frame with events around it; also `frame` (its number) and `num_events_around`.

        Raises ValueError where the root is not a folder, holds no recording with frames, or a file is faulty (named).
        """
        if not root.is_dir():
            raise ValueError(f"{root}: not a folder")
        rows: list[dict[str, Any]] = []
        for path in _find_recordings(root):
            rows.extend(_index_recording(root, path))
        if not rows:
            raise ValueError(
                f"{root}: no frame with events around it; expected *.aedat4 files with frames, or folders with "
                "events.txt and frame.png or images.txt"
            )
        for row, split in zip(rows, _splits([row["object_id"] for row in rows]), strict=True):
            row["split"] = split
        extra = {"frame": pa.int64(), "num_events_around": pa.int64()}
        return pa.Table.from_pylist(rows, schema=pa.schema(list((dict(INDEX_COLUMNS) | extra).items())))

    def read(self, root: Path, row: Mapping[str, Any], keys: Collection[str]) -> Sample:
        """Read frame and full-frame masks: uint8 (3, H, W) and (1, H, W); KeyError for a key not provided."""
        keys_provided = [key for key in self.provides if key != "events"]
        for key in keys:
            if key not in keys_provided:
                raise KeyError(unknown_name("key of davis", key, keys_provided))
        if not keys:
            return {}
        image = _read_frame(_open(root / row["shard"])[0], int(row["frame"]))
        ones = np.ones((1, *image.shape[1:]), np.uint8)
        return {key: image.copy() if key.startswith("rgb") else ones.copy() for key in keys}

    def events(self, root: Path, row: Mapping[str, Any], t0: int, t1: int) -> Events:
        """Read the events with t in [t0, t1) us, aligned with the frame."""
        recording, rectify = _open(root / row["shard"])
        events = recording.events(t0, t1)
        return rectify(events) if rectify else events


DATASET = Davis()


def _find_recordings(root: Path) -> list[Path]:
    files = [path for path in root.rglob("*.aedat4") if path.is_file()]
    folders = [path.parent for path in root.rglob("events.txt") if path.is_file()]
    with_frames = [path for path in folders if any((path / name).is_file() for name in ("frame.png", "images.txt"))]
    return sorted(files + with_frames)


def _index_recording(root: Path, path: Path) -> Iterable[dict[str, Any]]:
    recording, rectify = _open(path)
    shard = path.relative_to(root).as_posix()
    object_id = root.resolve().name if shard == "." else shard
    num_skipped = 0
    for number, frame in enumerate(recording.frames()):
        _check_frame(recording, frame, number)
        around = _count(recording, rectify, *SURROUNDINGS.around(frame.t_us))
        if not around:
            num_skipped += 1
            continue
        yield {
            "sample_id": f"{object_id}/{number:06d}",
            "object_id": object_id,
            "shard": shard,
            "t_us": frame.t_us,
            "exposure_start_us": frame.exposure_start_us,
            "exposure_end_us": frame.exposure_end_us,
            "num_events": _count(recording, rectify, frame.exposure_start_us, frame.exposure_end_us),
            "frame": number,
            "num_events_around": around,
        }
    if num_skipped:
        logger.info("%s: %d frames without an event around them are left out", path, num_skipped)


def _count(recording: Recording, rectify: Rectification | None, t0: int, t1: int) -> int:
    events = recording.events(t0, t1)
    return len(rectify(events) if rectify else events)


def _splits(object_ids: list[str]) -> list[str]:
    """Return the split of each row, given the recordings of the rows (see `Davis`)."""
    recordings = sorted(set(object_ids), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    if len(recordings) > 1:
        kept = set(recordings[: max(1, len(recordings) // VAL_SHARE)])
        return ["val" if object_id in kept else "train" for object_id in object_ids]
    num_val = max(1, len(object_ids) // VAL_SHARE) if len(object_ids) > 1 else 0
    return ["train"] * (len(object_ids) - num_val) + ["val"] * num_val


def _check_frame(recording: Recording, frame: Frame, number: int) -> None:
    size = frame.image.shape[1:]
    if size != (recording.height, recording.width):
        raise ValueError(
            f"{recording.path}: frame {number} has {size[0]}x{size[1]} pixels, the sensor {recording.height}x"
            f"{recording.width}: frame and events would not be aligned"
        )


def _read_frame(recording: Recording, number: int) -> NDArray[np.uint8]:
    frames = recording.frames()
    if not 0 <= number < len(frames):
        raise ValueError(f"{recording.path}: frame {number} was indexed, the recording has {len(frames)}")
    frame = frames[number]
    _check_frame(recording, frame, number)
    return frame.rgb


def _open(path: Path) -> tuple[Recording, Rectification | None]:
    """Open a recording, or find it open: a file that was replaced since is opened again."""
    file = path / "events.txt" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{path}: the recording is not there")
    status = file.stat()
    return _open_version(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=MAX_OPEN)
def _open_version(path: Path, mtime_ns: int, size: int) -> tuple[Recording, Rectification | None]:
    recording = open_recording(path)
    calibration = path / "calib.txt"
    if isinstance(recording, TextRecording) and recording.has_lone_frame and calibration.is_file():
        matrix, distortion = read_calibration(calibration)
        return recording, rectification(matrix, distortion, recording.height, recording.width)
    return recording, None
