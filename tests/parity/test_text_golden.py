"""Text recordings of real cameras, against the events that a plain reading of the lines gives."""

import json
from pathlib import Path

import pytest

from eventsam.io.convert import write_events
from eventsam.io.detect import open_recording
from eventsam.io.info import recording_info
from eventsam.io.recording import OpenOptions

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
REAL = ["boxes_rotation", "dynamic_rotation", "poster_rotation", "shapes_rotation", "slider"]


@pytest.mark.skipif(not DATA.is_dir(), reason="the recordings are not beside this checkout")
@pytest.mark.parametrize("name", REAL)
def test_real_recordings(name: str, tmp_path: Path) -> None:
    slider = name == "slider"
    entry = "slider_depth/events_chunk.txt" if slider else f"ijrr_rotation/{name}/events.txt"
    expected = json.loads((DATA / "expected.json").read_text())[entry]
    recording = open_recording(DATA / entry if slider else (DATA / entry).parent, OpenOptions(height=180, width=240))
    info = recording_info(recording)
    assert info["format"] == "text"
    assert (info["num_events"], info["num_on"]) == (expected["n_events"], expected["n_on"])
    # Stated in seconds.
    assert (info["t_first_us"], info["t_last_us"]) == (
        round(expected["t_first"] * 1e6),
        round(expected["t_last"] * 1e6),
    )
    assert (info["height"], info["width"]) == (expected["height"], expected["width"])
    assert info["sha256_xytp"] == expected["sha256_xytp_int64_us"]
    assert info["num_frames"] == (0 if slider else 1)
    write_events(tmp_path / "again.txt", recording.chunks(), 180, 240)
    assert recording_info(open_recording(tmp_path / "again.txt"))["sha256_xytp"] == info["sha256_xytp"]
