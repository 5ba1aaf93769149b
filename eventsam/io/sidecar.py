"""The sensor size of recordings whose format has no place for it: `sensor.json` beside them."""

import json
from pathlib import Path

from eventsam.io.recording import RecordingError


def sidecar_size(folder: Path) -> tuple[int, int] | None:
    """Return (height, width) of the folder's `sensor.json` (`{"height": 180, "width": 240}`), None without one.

    Raises RecordingError where it says something else.
    """
    file = folder / "sensor.json"
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text())
        return int(content["height"]), int(content["width"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise RecordingError(f'{file}: expected {{"height": rows, "width": columns}}: {error!r}') from error
