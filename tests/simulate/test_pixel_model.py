"""The event pixel against hand calculations and its invariants."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.simulate.pixel_model import PixelModel, lin_log

IDEAL = PixelModel(threshold_sigma=0.0)


def _ramp(levels: list[float]) -> np.ndarray:
    """One pixel whose natural-log brightness follows `levels` above ln(50)."""
    return (50 * np.exp(np.array(levels, np.float32))).astype(np.float32).reshape(-1, 1, 1)


def _times(count: int, step: int = 1000) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * step


def test_lin_log_is_linear_below_20_and_log_above() -> None:
    grey = np.array([0, 10, 20, 40, 255], np.uint8)
    np.testing.assert_allclose(lin_log(grey), [0, np.log(20) / 2, np.log(20), np.log(40), np.log(255)], atol=1e-6)
    assert lin_log(grey).dtype == np.float32


def test_crossing_times_are_interpolated() -> None:
    events = IDEAL(_ramp([0, 0.5, 0.5, -0.15]), _times(4))
    # 0.2 and 0.4 up within the first ms; the level of the last event is then 0.4, so 0.2 and 0.0 down in the third.
    np.testing.assert_array_equal(events.t, [401, 801, 2000 + 462, 2000 + 770])
    np.testing.assert_array_equal(events.p, [1, 1, 0, 0])


def test_remainder_is_kept_over_frames() -> None:
    events = IDEAL(_ramp([0, 0.15, 0.3, 0.45]), _times(4))
    np.testing.assert_array_equal(events.t, [1334, 2667])


def test_slots_give_all_first_events_the_first_slot() -> None:
    frames = np.concatenate([_ramp([0, 0.25]), _ramp([0, 0.85])], axis=2)
    events = dataclasses.replace(IDEAL, timestamps="slots")(frames, _times(2))
    np.testing.assert_array_equal(events.t, [250, 250, 500, 750, 1000])
    np.testing.assert_array_equal(events.x, [0, 1, 1, 1, 1])


def test_refractory_pixel_drops_events_and_keeps_its_level() -> None:
    frames = _ramp([0, 0.85, 0.85])
    assert len(IDEAL(frames, _times(3))) == 4
    dead = dataclasses.replace(IDEAL, refractory_us=300)
    events, state = dead.run(frames, _times(3), *dead.draw_thresholds(1, 1))
    # Crossings come every 235 us: the second and the fourth fall into the dead time and are made up for later.
    assert (np.diff(events.t) > 300).all() and len(events) < 5
    assert state.base[0, 0] == pytest.approx(np.log(50) + 0.2 * len(events), abs=1e-5)


def test_leak_makes_on_events_at_its_rate() -> None:
    frames = np.full((2001, 1, 1), 100, np.uint8)
    events = dataclasses.replace(IDEAL, leak_rate_hz=5.0)(frames, _times(2001))
    assert (events.p == 1).all() and len(events) in (9, 10)


def test_low_pass_delays_and_dark_pixels_are_slower() -> None:
    step = np.concatenate([np.full((1, 1, 1), 60), np.full((50, 1, 1), 120)]).astype(np.uint8)
    slow = dataclasses.replace(IDEAL, cutoff_hz=20.0)
    dim = (step // 4).astype(np.uint8)
    assert IDEAL(step, _times(51)).t.max() <= 1000
    assert 1000 < slow(step, _times(51)).t[0] < slow(dim, _times(51)).t[0]


def test_mismatch_is_seeded_and_clipped() -> None:
    noisy = PixelModel(threshold_sigma=0.5, seed=3)
    on, off = noisy.draw_thresholds(40, 40)
    assert on.min() == np.float32(0.01) and not np.array_equal(on, off)
    np.testing.assert_array_equal(on, noisy.draw_thresholds(40, 40)[0])
    assert not np.array_equal(on, dataclasses.replace(noisy, seed=4).draw_thresholds(40, 40)[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(["interpolated", "slots"]), st.sampled_from([0, 400]))
def test_events_are_valid_and_follow_the_signal(seed: int, as_uint8: bool, timestamps: str, refractory: int) -> None:
    generator = np.random.default_rng(seed)
    frames = generator.uniform(0, 255, (6, 5, 7)).astype(np.uint8 if as_uint8 else np.float32)
    times = np.cumsum(generator.integers(1, 3000, 6))
    model = PixelModel(threshold_sigma=0.0, timestamps=timestamps, refractory_us=refractory)  # type: ignore[arg-type]
    before = frames.copy()
    events = model(frames, times)  # Events checks order, ranges and dtypes itself
    np.testing.assert_array_equal(frames, before)
    assert len(events) == 0 or (events.t[0] > times[0] and events.t[-1] <= times[-1])
    if refractory == 0:
        rise = np.zeros((5, 7))
        np.add.at(rise, (events.y, events.x), np.where(events.p == 1, 0.2, -0.2))
        change = lin_log(frames[-1]).astype(float) - lin_log(frames[0])
        assert np.abs(change - rise).max() < 0.2 + 1e-4


def test_still_scene_and_single_frame_give_nothing() -> None:
    assert len(IDEAL(np.full((5, 3, 4), 9, np.uint8), _times(5))) == 0
    assert len(IDEAL(np.full((1, 3, 4), 9, np.uint8), _times(1))) == 0


@pytest.mark.parametrize(
    ("frames", "times", "message"),
    [
        (np.zeros((2, 3), np.uint8), _times(2), r"\(T, H, W\)"),
        (np.zeros((2, 3, 3), np.float64), _times(2), "float64"),
        (np.zeros((2, 3, 3), np.uint8), _times(3), "t_us"),
        (np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.int64), "rise"),
        (np.full((2, 3, 3), 256, np.float32), _times(2), "0..255"),
        (np.full((2, 3, 3), np.nan, np.float32), _times(2), "0..255"),
    ],
)
def test_bad_frames_are_refused(frames: np.ndarray, times: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IDEAL(frames, times)


@pytest.mark.parametrize(
    "change", [{"on_threshold": 0.0}, {"threshold_sigma": -1.0}, {"refractory_us": -1}, {"timestamps": "exact"}]
)
def test_impossible_sensors_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change)).split("_")[-1]):
        dataclasses.replace(IDEAL, **change)
