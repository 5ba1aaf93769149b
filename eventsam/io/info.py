"""What a recording holds, in the few numbers that tell two decoders apart."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eventsam.events import MAX_SIDE, Events
from eventsam.io.detect import open_recording
from eventsam.io.recording import OpenOptions, Recording, UnknownSizeError


def file_info(path: Path, options: OpenOptions, format_name: str | None = None) -> dict[str, Any]:
    """Return `recording_info` of a path; `height` and `width` are None where neither the file nor the options say."""
    try:
        return recording_info(open_recording(path, options, format_name))
    except UnknownSizeError:
        # Nothing in the facts depends on the size, so that any will do that holds every coordinate.
        largest = replace(options, height=MAX_SIDE - 1, width=MAX_SIDE - 1)
        facts = recording_info(open_recording(path, largest, format_name))
        return facts | {"height": None, "width": None}


def recording_info(recording: Recording) -> dict[str, Any]:
    """Return the facts of a recording as plain JSON values; reads it once, in bounded memory.

    `format`, `height`, `width`, `num_events`, `num_on`, `t_first_us`, `t_last_us` (None where there is no event),
    `sha256_xytp`: the hash of the C-order little-endian int64 (N, 4) array of x, y, t_us, p. Beside them the number of
    frames, inertial samples and triggers, and of events that a policy mended.
    """
    digest = hashlib.sha256()
    num_events = num_on = 0
    first = last = None
    for chunk in recording.chunks():
        digest.update(xytp(chunk))
        num_events += len(chunk)
        num_on += int(np.count_nonzero(chunk.p))
        first = int(chunk.t[0]) if first is None else first
        last = int(chunk.t[-1])
    faults = recording.faults()
    return {
        "format": recording.format,
        "height": recording.height,
        "width": recording.width,
        "num_events": num_events,
        "num_on": num_on,
        "t_first_us": first,
        "t_last_us": last,
        "sha256_xytp": digest.hexdigest(),
        "num_frames": len(recording.frames()),
        "num_imu": len(recording.imu()),
        "num_triggers": len(recording.triggers()),
        "num_backward": faults.num_backward,
        "num_outside": faults.num_outside,
    }


def xytp(events: Events) -> bytes:
    """Return the C-order little-endian int64 (N, 4) array of x, y, t_us, p as bytes."""
    table = np.empty((len(events), 4), "<i8")
    for column, name in enumerate(("x", "y", "t", "p")):
        table[:, column] = getattr(events, name)
    return table.tobytes()
