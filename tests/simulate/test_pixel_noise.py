"""The noise of the event pixel: rates that were asked for, and nothing that depends on how it was run."""

import dataclasses

import numpy as np
import pytest

from eventsam.simulate.counter_random import key_of
from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.pixel_noise import HotPixels, photoreceptor_voltage

QUIET = PixelModel(threshold_sigma=0.0, seed=11)


def _still(model: PixelModel, grey: int, num_frames: int, step_us: int, size: tuple[int, int] = (64, 80)) -> int:
    """Number of events of a still scene, frame after frame."""
    stream, image = model.stream(*size), np.full(size, grey, np.uint8)
    return sum(len(stream.frame(image, number * step_us)) for number in range(num_frames + 1))


@pytest.mark.parametrize(("grey", "sigma"), [(0, 0.0), (235, 0.0), (60, 0.03)])
def test_shot_noise_has_its_rate(grey: int, sigma: float) -> None:
    model = dataclasses.replace(QUIET, shot_noise_rate_hz=5.0, threshold_sigma=sigma)
    expected = model.expected_shot_rate_hz(grey) * 64 * 80 * 0.4
    # Poisson: five standard deviations; mismatch adds sigma^2 / threshold^2 = 2 % to the mean of 1 / threshold.
    assert abs(_still(model, grey, 400, 1000) - expected * (1 + (sigma / 0.2) ** 2)) < 5 * expected**0.5


def test_shot_noise_rate_holds_for_rare_events_and_slots() -> None:
    model = dataclasses.replace(QUIET, shot_noise_rate_hz=0.05, timestamps="slots")
    expected = model.expected_shot_rate_hz(0) * 64 * 80 * 10
    assert abs(_still(model, 0, 1000, 10_000) - expected) < 5 * expected**0.5


@pytest.mark.slow
def test_shot_noise_rate_over_a_million_pixel_seconds() -> None:
    model = dataclasses.replace(QUIET, shot_noise_rate_hz=1.0)
    size = (260, 346)
    num_frames = 1_200
    events = _still(model, 100, num_frames, 10_000, size)
    rate = events / (num_frames * 0.01 * size[0] * size[1])
    assert num_frames * 0.01 * size[0] * size[1] > 1e6
    assert rate == pytest.approx(model.expected_shot_rate_hz(100), rel=0.02)


@pytest.mark.parametrize("grey", [0, 255])
def test_shot_noise_falls_with_light(grey: int) -> None:
    model = dataclasses.replace(QUIET, shot_noise_rate_hz=4.0)
    assert model.expected_shot_rate_hz(-20) == 4.0
    assert model.expected_shot_rate_hz(255) == 1.0
    assert model.expected_shot_rate_hz(grey) == pytest.approx(4 * (1 - 0.75 * (grey + 20) / 275))


@pytest.mark.parametrize("jitter", [0.0, 0.3])
@pytest.mark.parametrize("sigma", [0.0, 0.03])
def test_leak_has_its_rate(jitter: float, sigma: float) -> None:
    model = dataclasses.replace(QUIET, leak_rate_hz=8.0, leak_jitter_fraction=jitter, threshold_sigma=sigma)
    # Every pixel fires ON each 125 ms, whatever its threshold: 7.99 crossings in a second less the first wait's rest.
    events = _still(model, 100, 1010, 1000)
    assert events == pytest.approx(8 * 64 * 80, rel=0.02)


def test_leak_spread_is_log_normal_and_fixed_to_the_pixel() -> None:
    model = dataclasses.replace(QUIET, leak_rate_hz=40.0, noise_rate_cov_decades=0.3)
    frames = np.full((1001, 32, 32), 100, np.uint8)
    events = model(frames, np.arange(1001) * 1000)
    counts = np.bincount(events.y.astype(int) * 32 + events.x, minlength=1024)
    decades = np.log10((counts + 0.5) / 40)
    assert abs(decades.mean()) < 0.05 and decades.std() == pytest.approx(0.3, abs=0.03)
    late = events.between(500_000, 1_000_001)
    later = np.bincount(late.y.astype(int) * 32 + late.x, minlength=1024)
    assert np.corrcoef(counts, later)[0, 1] > 0.99


def test_hot_pixels_fire_at_their_rate_and_nothing_else_changes() -> None:
    model = dataclasses.replace(QUIET, hot_pixel_share=0.05, hot_pixel_rate_hz=200.0)
    frames = np.full((21, 40, 50), 100, np.uint8)
    events = model(frames, np.arange(21) * 50_000)
    pixels = np.unique(events.y.astype(int) * 50 + events.x)
    assert 60 < len(pixels) < 145 and (events.p == 1).all()
    assert len(events) == pytest.approx(len(pixels) * 200, abs=5 * (len(pixels) * 200) ** 0.5)
    # The same events whatever the frame rate.
    coarse = model(frames[:2], np.array([0, 1_000_000]))
    np.testing.assert_array_equal(coarse.t, events.t)


def test_hot_pixels_come_in_order_and_once() -> None:
    hot = HotPixels(3, 1000, 0.1, 50.0, key_of(3))
    pixel, time_us = hot.until(1e6)
    again, _ = hot.until(1e6)
    assert len(again) == 0 and (np.diff(pixel) >= 0).all() and time_us.min() > 0 and time_us.max() <= 1e6
    assert (hot.until(2e6)[1] > 1e6).all()


def test_photoreceptor_noise_makes_noise_events_of_both_signs() -> None:
    model = PixelModel(cutoff_hz=200.0, shot_noise_rate_hz=5.0, photoreceptor_noise=True)
    frames = np.full((1001, 24, 24), 100, np.uint8)
    events = model(frames, np.arange(1001) * 1000)
    rate = len(events) / (24 * 24 * 1.0)
    assert 0.5 < rate < 50 and 0.3 < events.p.mean() < 0.7


def test_photoreceptor_voltage_follows_the_fitted_curve() -> None:
    # At a rate of twice the cutoff the cubic's argument is 0: threshold / voltage = 10^0.321.
    assert photoreceptor_voltage(0.2, 60.0, 30.0, 1.0) == pytest.approx(0.2 / 10**0.321)
    assert photoreceptor_voltage(0.2, 60.0, 30.0, 0.5) == pytest.approx(0.2 / 10**0.321 * 3**0.5)
    assert photoreceptor_voltage(0.2, 1.0, 30.0, 1.0) < photoreceptor_voltage(0.2, 10.0, 30.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photoreceptor_noise": True}, "cutoff_hz"),
        ({"hot_pixel_share": 1.5}, "0 to 1"),
        ({"cs_lambda_pixels": 0.0}, "above 0"),
        ({"cs_lambda_pixels": 2.0, "scidvs": True}, "not together"),
        ({"shot_noise_rate_hz": float("nan")}, "shot_noise_rate_hz is nan"),
        ({"seed": 1 << 64}, "2\\^64"),
        ({"seed": -1}, "seed is -1"),
        ({"scidvs_startup": "late"}, "reference"),
    ],
)
def test_impossible_noise_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(QUIET, **change)
