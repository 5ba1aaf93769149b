"""The event pixel against recorded runs of v2e: counts, pixels and final memory exactly, times to single precision."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eventsam.events import Events
from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.pixel_stream import PixelStream
from eventsam.simulate.presets import from_v2e

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
CASES = sorted(path.stem.removeprefix("v2e_") for path in GOLDEN.glob("v2e_*.npz"))

pytestmark = pytest.mark.skipif(not CASES, reason="needs the shared golden arrays")


def _stream(golden: Any) -> PixelStream:
    """The sensor of a recorded run; its seed is another generator's, so drawn parts come from the record."""
    config = json.loads(str(golden["config"]))
    config["refractory_period"] = config.pop("refractory_period_s")
    known = {name: value for name, value in config.items() if name not in ("device", "seed")}
    model = from_v2e(known, PixelModel(timestamps="slots", threshold_sigma=0.0, scidvs_startup="reference"))
    tau_s = None
    if model.scidvs:
        stored = [name for name in golden if "tau" in name]
        tau_s = golden[stored[0]] if stored else _torch_tau(config["seed"], golden["pos_thres"].shape)
    height, width = golden["frames"].shape[1:]
    thresholds = golden["pos_thres"], golden["neg_thres"]
    return PixelStream(model, height, width, thresholds=thresholds, scidvs_tau_s=tau_s, exact_times=True)


def _torch_tau(seed: int, size: tuple[int, int]) -> np.ndarray:
    """10 ms times exp(N(0, 0.5)), as the only draw of a seeded run."""
    generator = torch.Generator().manual_seed(seed)
    return (0.01 * torch.exp(torch.normal(0.0, 0.5, size=size, generator=generator))).numpy()


def _run(golden: Any, as_uint8: bool) -> tuple[list[Events], np.ndarray, PixelStream]:
    stream = _stream(golden)
    frames = golden["frames"].astype(np.uint8) if as_uint8 else golden["frames"]
    pieces, exact = [], []
    for image, seconds in zip(frames, golden["frame_t"], strict=True):
        pieces.append(stream.frame_at(image, float(seconds)))
        exact.append(stream.exact_s)
    return pieces, np.concatenate(exact), stream


@pytest.mark.parametrize("case", CASES)
def test_pixel_model_equals_v2e(case: str) -> None:
    golden = np.load(GOLDEN / f"v2e_{case}.npz")
    whole_greys = bool((golden["frames"] == np.round(golden["frames"])).all())
    pieces, exact, stream = _run(golden, whole_greys)

    np.testing.assert_array_equal([len(piece) for piece in pieces], golden["events_per_frame"])
    frame = np.repeat(np.arange(len(pieces)), golden["events_per_frame"])
    x, y, p = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("x", "y", "p"))
    polarity = (golden["p"] > 0).astype(np.uint8)
    # Inside one slot the reference's order is random: compare after sorting, times last.
    ours = np.lexsort((exact, p, x, y, frame))
    theirs = np.lexsort((golden["t"], polarity, golden["x"], golden["y"], frame))
    for got, expected in ((x, golden["x"]), (y, golden["y"]), (p, polarity)):
        np.testing.assert_array_equal(got[ours], expected[theirs])
    assert np.abs(exact[ours] - golden["t"][theirs].astype(np.float64)).max() < 1e-8

    tolerance = 1e-5 if stream.model.scidvs or stream.model.cs_lambda_pixels else 0.0
    np.testing.assert_allclose(stream.state.base, golden["base_log_frame_last"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(stream.state.low_passed, golden["lp_log_frame_last"], rtol=0, atol=1e-14)


@pytest.mark.parametrize("case", sorted({"clean", "mismatch"} & set(CASES)))
def test_interpolated_times_keep_the_events_of_each_interval(case: str) -> None:
    golden = np.load(GOLDEN / f"v2e_{case}.npz")
    times = np.rint(golden["frame_t"] * 1e6).astype(np.int64)
    events, _ = PixelModel().run(golden["frames"], times, golden["pos_thres"], golden["neg_thres"])
    frame = np.searchsorted(times, events.t, side="left")
    np.testing.assert_array_equal(np.bincount(frame, minlength=len(times)), golden["events_per_frame"])
