"""Frames between frames: no step longer than asked, and between what they lie between."""

import logging

import cv2
import numpy as np
import pytest

from eventsam.simulate.upsample import Upsampler, Upsampling, frame_between


def _moved(shift_px: float, height: int = 72, width: int = 96) -> np.ndarray:
    texture = cv2.GaussianBlur(np.random.default_rng(0).standard_normal((height, width + 60)), (0, 0), 3)
    move = np.array([[1, 0, shift_px - 30], [0, 1, 0]], np.float64)
    scaled = np.clip(128 + 50 * texture / texture.std(), 0, 255)
    return cv2.warpAffine(scaled, move, (width, height), flags=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(72, 96), (32, 40)])
def test_fast_motion_gets_the_steps_it_needs(size: tuple[int, int]) -> None:
    frames = [(0.0, _moved(0.0, *size)), (0.04, _moved(4.0, *size)), (0.08, _moved(4.0, *size))]
    upsampler = Upsampler(Upsampling(max_step_px=1.0))
    out = list(upsampler(frames))
    times = [seconds for seconds, _ in out]
    summary = upsampler.summary()
    assert summary["largest_factor"] >= 4 and summary["min_factor"] == 1
    assert np.isin([0.0, 0.04, 0.08], times).all() and (np.diff(times) > 0).all()
    np.testing.assert_array_equal(out[0][1], frames[0][1])
    np.testing.assert_array_equal(out[-1][1], frames[-1][1])
    half = min(out, key=lambda entry: abs(entry[0] - 0.02))
    truth, inside = _moved(4.0 * half[0] / 0.04, *size).astype(float), np.s_[8:-8, 12:-12]
    ours = np.abs(half[1] - truth)[inside].mean()
    faded = np.abs((frames[0][1].astype(float) + frames[1][1]) / 2 - truth)[inside].mean()
    assert ours < 0.5 * faded


def test_timestamp_resolution_bounds_still_scenes_too() -> None:
    frame = _moved(0.0)
    frames = [(0.0, frame), (1 / 30, frame)]
    out = list(Upsampler(Upsampling(0.0, 0.01))(frames))
    assert len(out) == 5 and max(np.diff([seconds for seconds, _ in out])) <= 0.01
    exact = list(Upsampler(Upsampling(0.0, 1 / 30))(frames))
    assert len(exact) == 2


def test_nothing_to_do_passes_the_frames_through() -> None:
    frames = [(0.0, _moved(0.0)), (0.1, _moved(5.0))]
    out = list(Upsampler(Upsampling(max_step_px=0.0))(frames))
    assert all(given is got for given, got in zip(frames, out, strict=True))


def test_a_pair_is_capped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    upsampler = Upsampler(Upsampling(0.0, 0.001, max_factor=4))
    with caplog.at_level(logging.WARNING):
        out = list(upsampler([(0.0, _moved(0.0)), (0.1, _moved(1.0)), (0.2, _moved(2.0))]))
    assert len(out) == 9 and upsampler.summary()["num_capped"] == 2 and len(caplog.messages) == 1


def test_ends_are_the_given_frames() -> None:
    first, last = _moved(0.0).astype(np.float32), _moved(3.0).astype(np.float32)
    flow = np.zeros((*first.shape, 2), np.float32)
    flow[..., 0] = 3
    np.testing.assert_allclose(frame_between(first, last, flow, -flow, 0.0), first, atol=1e-4)
    np.testing.assert_allclose(frame_between(first, last, flow, -flow, 1.0), last, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [{"max_step_px": -1.0}, {"timestamp_resolution_s": 0.0}, {"timestamp_resolution_s": 1e-9}, {"max_factor": 0}],
)
def test_impossible_steps_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        Upsampling(**wrong)
