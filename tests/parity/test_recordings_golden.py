"""Recordings of cameras and of the specification's own encoder, against what independent decoders read from them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from eventsam.io.detect import open_recording
from eventsam.io.info import file_info
from eventsam.io.recording import OpenOptions

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
GOLDEN, DATA = SHARED / "golden", SHARED / "data"

RECORDED = [
    ("prophesee_raw/evt2_sample.raw", "evt2"),
    ("prophesee_raw/evt3_sample.raw", "evt3"),
    ("loris/NCARS_obj_004397_td.dat", "dat"),
]
"""Files of cameras whose headers do not state the sensor; the RAW ones name the camera."""

ENCODED = [
    ("ev_raw_cd.dat", "dat"),
    ("ev_raw_evt2.raw", "evt2"),
    ("ev_raw_evt21.raw", "evt21"),
    ("ev_raw_evt21_legacy.raw", "evt21_legacy"),
    ("ev_raw_evt3.raw", "evt3"),
]
"""Files that hold the events of ev_raw_expected.npz."""


@pytest.mark.parametrize(("name", "format_name"), RECORDED)
def test_camera_recordings_hold_the_expected_events(name: str, format_name: str) -> None:
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not beside this checkout")
    expected = json.loads((DATA / "expected.json").read_text())[name]
    info = file_info(DATA / name, OpenOptions())
    assert (info["format"], info["height"], info["width"]) == (format_name, expected["height"], expected["width"])
    assert (info["num_events"], info["num_on"]) == (expected["n_events"], expected["n_on"])
    assert (info["t_first_us"], info["t_last_us"]) == (expected["t_first"], expected["t_last"])
    assert info["sha256_xytp"] == expected["sha256_xytp_int64_us"]
    assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == expected["sha256"]


@pytest.mark.parametrize(("name", "format_name"), ENCODED)
def test_encoded_recordings_hold_the_expected_events(name: str, format_name: str) -> None:
    if not (GOLDEN / name).is_file():
        pytest.skip(f"{name} is not beside this checkout")
    with np.load(GOLDEN / "ev_raw_expected.npz") as expected:
        recording = open_recording(GOLDEN / name)
        assert (recording.format, recording.height, recording.width) == (format_name, expected["H"], expected["W"])
        events = recording.read()
        for column in "xytp":
            np.testing.assert_array_equal(getattr(events, column), expected[column])
        middle = int(events.t[0] + events.t[-1]) // 2
        late = recording.events(middle, int(events.t[-1]) + 1)
        np.testing.assert_array_equal(late.t, events.t[events.t >= middle])
