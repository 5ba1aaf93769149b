"""Centre-surround and the adapting high-pass against what they must do to simple scenes."""

import dataclasses

import numpy as np
import pytest

from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.pixel_surround import SCIDVS_TAU_S, AdaptingHighPass, Surround, draw_scidvs_tau

EVEN = PixelModel(threshold_sigma=0.0)


def test_surround_removes_what_all_pixels_share() -> None:
    flash = np.stack([np.full((16, 16), grey, np.uint8) for grey in (50, 50, 150, 150, 150)])
    times = np.arange(5) * 20_000
    model = dataclasses.replace(EVEN, cs_lambda_pixels=3.0, cs_tau_p_ms=2.0)
    assert len(EVEN(flash, times)) == 5 * 256
    assert len(model(flash, times)) == 0


def test_surround_settles_on_the_equation_of_the_grid() -> None:
    generator = np.random.default_rng(0)
    level = generator.uniform(0, 5, (12, 15)).astype(np.float32)
    surround = Surround(12, 15, 2.0, None)
    assert not surround(level.ravel(), 0.0).any()
    target = np.roll(level, 3, axis=1)
    signal = surround(target.ravel(), 0.01).reshape(12, 15).astype(np.float64)
    grid = np.pad(target - signal, 1, mode="edge")
    bend = grid[:-2, 1:-1] + grid[2:, 1:-1] + grid[1:-1, :-2] + grid[1:-1, 2:] - 4 * grid[1:-1, 1:-1]
    # At rest (v - h) + width^2 laplacian(h) = 0; it stops where a step, 1/20 of a time constant, changes under 1e-5.
    assert np.abs(signal + 4 * bend).max() < 20 * 1e-5 * 5


def test_surround_follows_its_time_constant() -> None:
    surround = Surround(6, 6, 0.5, 10.0)
    dark, light = np.zeros(36, np.float32), np.ones(36, np.float32)
    surround(dark, 0.0)
    assert surround(light, 0.01)[0] == pytest.approx(np.exp(-1), abs=0.05)


def test_scidvs_forgets_still_scenes() -> None:
    tau = np.full(1, SCIDVS_TAU_S, np.float32)
    high_pass = AdaptingHighPass(tau, as_reference=False)
    levels = [3.0, 3.1, *[3.1] * 100]
    signal = [high_pass(np.array([level], np.float32), 0.001)[0] for level in levels]
    assert signal[0] == 0 and signal[1] == pytest.approx(0.2, rel=1e-5)
    assert signal[11] == pytest.approx(0.2 * np.exp(-0.7), rel=0.1) and abs(signal[-1]) < 1e-3


def test_scidvs_starts_without_the_reference_s_burst() -> None:
    frames = np.full((4, 8, 8), 100, np.uint8)
    times = np.arange(4) * 1000
    fixed = dataclasses.replace(EVEN, scidvs=True)
    assert len(fixed(frames, times)) == 0
    burst = dataclasses.replace(fixed, scidvs_startup="reference")(frames, times)
    assert len(burst) == 64 * int(np.log(100) / 0.2) and not burst.p.any() and burst.t.max() <= 1000


def test_long_steps_decay_and_the_reference_s_run_away() -> None:
    frames = np.stack([np.full((4, 4), grey, np.uint8) for grey in (10, 250, 250, 10, 250)])
    times = np.arange(5) * 100_000
    fixed = dataclasses.replace(EVEN, scidvs=True)
    assert 0 < len(fixed(frames, times)) < 16 * 200
    with pytest.raises(ValueError, match="too far"):
        dataclasses.replace(fixed, scidvs_startup="reference")(frames, times)


def test_scidvs_doubles_a_fast_change() -> None:
    frames = np.stack([np.full((4, 4), grey, np.uint8) for grey in (100, 150)])
    times = np.array([0, 100])
    assert len(EVEN(frames, times)) == 16 * 2
    assert len(dataclasses.replace(EVEN, scidvs=True)(frames, times)) == 16 * 4


def test_time_constants_are_log_normal_and_seeded() -> None:
    tau = draw_scidvs_tau(1, 5000)
    assert np.log(tau / SCIDVS_TAU_S).std() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(tau, draw_scidvs_tau(1, 5000))
    assert not np.array_equal(tau, draw_scidvs_tau(2, 5000))
