"""Golden AEDAT files, made by the vendor's writer and by the format's description, against the events put into them."""

from pathlib import Path

import numpy as np
import pytest

from eventsam.io.detect import open_recording
from eventsam.io.recording import OpenOptions

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
FILES = {
    "ev_raw_lz4.aedat4": OpenOptions(),
    "ev_raw_none.aedat4": OpenOptions(),
    "ev_raw_zstd.aedat4": OpenOptions(),
    "ev_raw_davis346.aedat": OpenOptions(height=260, width=346),
}


@pytest.mark.parametrize("name", FILES)
def test_events_are_those_put_in(name: str) -> None:
    if not (GOLDEN / name).is_file():
        pytest.skip(f"{name} is not beside this checkout")
    recording = open_recording(GOLDEN / name, FILES[name])
    events = recording.read()
    with np.load(GOLDEN / "ev_raw_davis346_expected.npz") as expected:
        assert (events.height, events.width) == (expected["H"], expected["W"])
        assert all(np.array_equal(getattr(events, column), expected[column]) for column in "xytp")
    middle = (recording.t_first_us + recording.t_last_us) // 2
    part, cut = recording.events(middle, middle + 1000), events.between(middle, middle + 1000)
    assert len(part) and all(np.array_equal(getattr(part, column), getattr(cut, column)) for column in "xytp")
