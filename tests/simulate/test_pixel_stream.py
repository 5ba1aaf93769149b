"""A sensor that runs frame by frame: the same events however it is fed."""

import dataclasses
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from events_support import same
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.events import Events, concatenate
from eventsam.simulate.pixel_model import PixelModel
from eventsam.simulate.presets import PRESETS

NOISY = dataclasses.replace(PRESETS["noisy"], refractory_us=300, hot_pixel_share=0.02, hot_pixel_rate_hz=100.0, seed=3)
SENSORS = {
    "clean": PRESETS["clean"],
    "noisy": NOISY,
    "slots": dataclasses.replace(NOISY, timestamps="slots"),
    "surround": PixelModel(cs_lambda_pixels=2.0, cs_tau_p_ms=2.0),
    "gaussian": PixelModel(cutoff_hz=100.0, shot_noise_rate_hz=20.0, photoreceptor_noise=True),
    "scidvs": PixelModel(scidvs=True),
}


def _frames(dtype: type = np.uint8, num_frames: int = 12, height: int = 37, width: int = 41) -> np.ndarray:
    """A grating that drifts; sizes that fill no tile."""
    rows, columns = np.mgrid[:height, :width]
    phase = columns * 0.5 + rows * 0.2 - np.arange(num_frames)[:, None, None] * 0.7
    return (120 + 100 * np.sin(phase)).astype(dtype)


def _times(num_frames: int = 12) -> np.ndarray:
    return np.cumsum(np.resize([1000, 1700, 130, 90_000], num_frames)).astype(np.int64)


@pytest.mark.parametrize("name", SENSORS)
def test_a_stream_gives_the_events_of_a_call(name: str) -> None:
    frames, times = _frames(), _times()
    stream = SENSORS[name].stream(*frames.shape[1:])
    buffer = np.empty_like(frames[0])
    pieces = []
    for image, t_us in zip(frames, times, strict=True):
        buffer[:] = image  # as a camera driver does: the next frame overwrites the last
        pieces.append(stream.frame(buffer, int(t_us)))
    whole = SENSORS[name](frames, times)
    assert len(whole) > 100 and same(concatenate(pieces), whole)
    for piece, before, after in zip(pieces[1:], times[:-1], times[1:], strict=True):
        assert len(piece) == 0 or before < piece.t[0] <= piece.t[-1] <= after


@pytest.mark.parametrize("name", SENSORS)
def test_events_leave_ordered_by_time_row_and_column(name: str) -> None:
    events = SENSORS[name](_frames(), _times())
    order = np.lexsort((events.x, events.y, events.t))
    np.testing.assert_array_equal(order, np.arange(len(events)))


def test_threads_and_neighbours_change_nothing() -> None:
    frames, times = _frames(), _times()
    alone = NOISY(frames, times)
    with ThreadPoolExecutor(4) as pool:
        for events in pool.map(lambda _: NOISY(frames, times), range(8)):
            assert same(events, alone)
    assert not same(dataclasses.replace(NOISY, seed=4)(frames, times), alone)


def test_grey_levels_by_table_and_by_pixel_agree() -> None:
    frames, times = _frames(), _times()
    for model in SENSORS.values():
        assert same(model(frames, times), model(frames.astype(np.float32), times))


def test_a_pixel_s_noise_does_not_depend_on_its_signal_elsewhere() -> None:
    frames, times = _frames(), _times()
    model = dataclasses.replace(NOISY, cutoff_hz=0.0)
    moving = frames.copy()
    moving[:, 20:] = 77
    changed, first = model(moving, times), model(frames, times)
    upper = [Events.crop(events, 0, 0, 20, 41) for events in (first, changed)]
    assert same(*upper)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(100, 3000), st.sampled_from(["clean", "noisy"]))
def test_no_pixel_fires_within_its_dead_time(seed: int, refractory: int, name: str) -> None:
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, 256, (6, 8, 9)).astype(np.uint8)
    model = dataclasses.replace(
        PRESETS[name], refractory_us=refractory, seed=seed, shot_noise_rate_hz=100.0 if name == "noisy" else 0.0
    )
    events = model(frames, np.arange(6) * 2000)
    pixel = events.y.astype(int) * 9 + events.x
    order = np.argsort(pixel, kind="stable")
    gaps = np.diff(events.t[order])[np.diff(pixel[order]) == 0]
    # Whole microseconds are rounded up: two exact times more than the dead time apart may come one closer.
    assert (gaps >= refractory).all()


def test_long_intervals_sort_by_all_their_bits() -> None:
    frames = _frames(num_frames=3)
    times = np.array([5, 5 + 3_000_000_000, 5 + 9_000_000_000])
    events = PixelModel()(frames, times)  # Events checks the order of t
    assert len(events) > 1000 and events.t[-1] > 1 << 32
    scaled = PixelModel()(frames, np.array([0, 3_000, 9_000]))
    assert len(scaled) == len(events)


def test_times_between_microseconds_keep_their_exact_length() -> None:
    stream = PixelModel(threshold_sigma=0.0).stream(1, 1, exact_times=True)
    levels = (50 * np.exp(np.array([0.0, 0.5, 0.95]))).astype(np.float32)
    rate = 1 / 30
    exact = [stream.frame_at(levels[n].reshape(1, 1), n * rate) and stream.exact_s for n in range(3)]
    np.testing.assert_allclose(exact[1], [0.4 * rate, 0.8 * rate], rtol=1e-6)
    np.testing.assert_allclose(exact[2], [rate + rate * (0.1 / 0.45), rate + rate * (0.3 / 0.45)], rtol=1e-5)


def test_state_is_a_copy_of_the_memory() -> None:
    stream = PixelModel().stream(4, 5)
    with pytest.raises(ValueError, match="no frame"):
        _ = stream.state
    stream.frame(np.full((4, 5), 50, np.uint8), 0)
    before = stream.state
    stream.frame(np.full((4, 5), 200, np.uint8), 1000)
    np.testing.assert_allclose(before.base, np.log(50), rtol=1e-6)
    np.testing.assert_allclose(stream.state.low_passed, np.log(200), rtol=1e-6)


def test_bad_frames_of_a_stream_are_refused_by_number() -> None:
    stream = PixelModel().stream(4, 5)
    with pytest.raises(ValueError, match=r"frame 0 is .* uint8"):
        stream.frame(np.zeros((5, 4), np.uint8), 0)
    stream.frame(np.zeros((4, 5), np.uint8), 10)
    with pytest.raises(ValueError, match="not after"):
        stream.frame(np.zeros((4, 5), np.uint8), 10)
    with pytest.raises(ValueError, match="began with uint8"):
        stream.frame(np.zeros((4, 5), np.float32), 20)
    with pytest.raises(ValueError, match="thresholds are"):
        PixelModel().stream(4, 5, thresholds=(np.ones((2, 2), np.float32), np.ones((4, 5), np.float32)))
    mixed = PixelModel().stream(4, 5)
    mixed.frame(np.zeros((4, 5), np.float32), 0)
    assert len(mixed.frame(np.full((4, 5), 9, np.uint8), 5)) > 0


def test_a_cutoff_that_frames_do_not_resolve_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    frames = np.full((4, 3, 3), 9, np.uint8)
    with caplog.at_level(logging.WARNING, "eventsam.simulate"):
        PixelModel(cutoff_hz=15.0)(frames, np.arange(4) * 33_333)
    assert len(caplog.messages) == 1 and "cutoff_hz 15" in caplog.text and "3.14" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "eventsam.simulate"):
        PixelModel(cutoff_hz=15.0)(frames, np.arange(4) * 1000)
        assert not caplog.messages
        PixelModel(shot_noise_rate_hz=100.0)(frames, np.arange(4) * 33_333)
    assert "most one noise event" in caplog.text
