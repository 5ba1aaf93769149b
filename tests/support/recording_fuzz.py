"""Damaged recordings: a reader returns events or raises its error, in memory that the file's size explains."""

import tracemalloc
from pathlib import Path

from eventsam.io.detect import open_recording
from eventsam.io.recording import OpenOptions, RecordingError

MEMORY_FLOOR = 64 << 20
"""Bytes that a reader may take for any file, however small: buffers, decompression, imports."""
MEMORY_PER_BYTE = 400
"""Bytes that a reader may take per byte of the file: a vector word of 2 bytes holds 12 events of 13 bytes, copied."""


def check_damaged(
    data: bytes, folder: Path, name: str = "damaged", options: OpenOptions | None = None, format_name: str | None = None
) -> int | None:
    """Open and read whole what `data` holds; return the number of events, None where it is refused.

    Any other exception than RecordingError, or more memory than the file can explain, is a defect.
    """
    path = folder / name
    path.write_bytes(data)
    settings = options or OpenOptions(height=4096, width=4096, backward="running_maximum", outside="drop")
    tracemalloc.start()
    try:
        recording = open_recording(path, settings, format_name)
        num_events = sum(len(chunk) for chunk in recording.chunks())
        for frame in recording.frames():
            assert frame.image.ndim == 3
        assert len(recording.imu()) >= 0 and len(recording.triggers()) >= 0
    except RecordingError:
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY_FLOOR + MEMORY_PER_BYTE * len(data), f"{peak} bytes for a file of {len(data)}"
    return num_events
