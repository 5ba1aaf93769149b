"""The event pixel against recorded runs of v2e: counts, pixels and final memory exactly, times to rounding."""

import json
from pathlib import Path

import numpy as np
import pytest

from eventsam.simulate.pixel_model import PixelModel

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
CASES = ("clean", "mismatch", "leak5hz", "cutoff30_refractory", "uint8_irregular_t")


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs the shared golden arrays")
@pytest.mark.parametrize("case", CASES)
def test_pixel_model_equals_v2e(case: str) -> None:
    golden = np.load(GOLDEN / f"v2e_{case}.npz")
    config = json.loads(str(golden["config"]))
    model = PixelModel(
        on_threshold=config["pos_thres"],
        off_threshold=config["neg_thres"],
        cutoff_hz=config["cutoff_hz"],
        leak_rate_hz=config["leak_rate_hz"],
        refractory_us=round(config["refractory_period_s"] * 1e6),
        timestamps="slots",
    )
    times = np.rint(golden["frame_t"] * 1e6).astype(np.int64)
    events, state = model.run(golden["frames"], times, golden["pos_thres"], golden["neg_thres"])

    # The frame in whose interval an event falls: (previous, this].
    frame = np.searchsorted(times, events.t, side="left")
    golden_frame = np.repeat(np.arange(len(times)), golden["events_per_frame"])
    np.testing.assert_array_equal(np.bincount(frame, minlength=len(times)), golden["events_per_frame"])
    np.testing.assert_array_equal(state.base, golden["base_log_frame_last"])
    np.testing.assert_allclose(state.low_passed, golden["lp_log_frame_last"], rtol=0, atol=1e-14)
    ours = np.lexsort((events.t, events.p, events.x, events.y, frame))
    polarity = (golden["p"] > 0).astype(np.uint8)
    theirs = np.lexsort((golden["t"], polarity, golden["x"], golden["y"], golden_frame))
    for name, expected in (("x", golden["x"]), ("y", golden["y"]), ("p", polarity)):
        np.testing.assert_array_equal(getattr(events, name)[ours], expected[theirs])
    # Whole microseconds on our side (frame times included), single-precision seconds on theirs.
    assert np.abs(events.t[ours] - golden["t"][theirs].astype(np.float64) * 1e6).max() < 1.0


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs the shared golden arrays")
@pytest.mark.parametrize("case", ("clean", "mismatch"))
def test_interpolated_times_keep_the_events_of_each_interval(case: str) -> None:
    golden = np.load(GOLDEN / f"v2e_{case}.npz")
    times = np.rint(golden["frame_t"] * 1e6).astype(np.int64)
    events, _ = PixelModel().run(golden["frames"], times, golden["pos_thres"], golden["neg_thres"])
    frame = np.searchsorted(times, events.t, side="left")
    np.testing.assert_array_equal(np.bincount(frame, minlength=len(times)), golden["events_per_frame"])
