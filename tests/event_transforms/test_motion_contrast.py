"""Warped events and their contrast: on a moving line, and on the real rotation recordings with their given flow."""

from pathlib import Path

import numpy as np
import pytest
from events_support import random_events, some_events
from hypothesis import given
from hypothesis import strategies as st

from eventsam.event_transforms import MotionCompensation, Undistort
from eventsam.event_transforms.contrast import gradient_magnitude, image_of_points, image_variance
from eventsam.event_transforms.flow import rotational_flow, sample_flow
from eventsam.event_transforms.motion_compensation import event_points
from eventsam.events import Events
from eventsam.io.text import TextRecording

IJRR = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ijrr_rotation"
NAMES = ("boxes_rotation", "dynamic_rotation", "poster_rotation", "shapes_rotation")
real = pytest.mark.skipif(not IJRR.is_dir(), reason="the recordings are not beside this checkout")


def moving_line(speed: float = 2.0) -> Events:
    """A vertical line that moves `speed` pixels per ms to the right for 10 ms, from column 5."""
    t = np.repeat(np.arange(0, 10_000, 100), 30)
    x = np.rint(5 + speed * t / 1000).astype(int)
    return Events.from_arrays(x, np.tile(np.arange(30), 100), t, t * 0 + 1, height=30, width=40)


def test_the_right_flow_puts_a_line_onto_itself() -> None:
    flow = np.zeros((2, 30, 40))
    flow[0] = 20.0
    warped = MotionCompensation(flow, duration=10_000, t_reference=5_000)(moving_line())
    assert set(warped.x.tolist()) <= {14, 15, 16}
    assert len(warped) == 3000
    outside = MotionCompensation(flow, duration=1_000, t_reference=0)(moving_line())
    assert 0 < len(outside) < 3000


def test_contrast_is_largest_at_the_right_flow() -> None:
    line, flow = moving_line(), np.zeros((2, 30, 40))
    for measure in (image_variance, gradient_magnitude):
        contrasts = []
        for speed in (-20.0, 0.0, 10.0, 20.0, 30.0):
            flow[0] = speed
            points = MotionCompensation(flow.copy(), 10_000).points(line)
            contrasts.append(measure(image_of_points(points, 30, 40)))
        assert int(np.argmax(contrasts)) == 3, (measure.__name__, contrasts)


@given(some_events(), st.integers(0, 1000))
def test_without_flow_nothing_moves(events: Events, t_reference: int) -> None:
    still = MotionCompensation(np.zeros((2, events.height, events.width)), 1000, t_reference)
    np.testing.assert_array_equal(still.points(events), event_points(events))
    assert len(still(events)) == len(events)


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 9))
def test_votes_add_up_and_whole_pixels_are_counts(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (50, 2)) * (width - 1, height - 1)
    image = image_of_points(points, height, width)
    assert image.sum() == pytest.approx(50)
    # The votes' centre of mass is that of the points.
    rows, columns = np.mgrid[:height, :width]
    np.testing.assert_allclose(
        [(image * columns).sum() / 50, (image * rows).sum() / 50], points.mean(axis=0), atol=1e-9
    )
    events = random_events(seed, 100, height, width)
    counts = np.zeros((height, width))
    np.add.at(counts, (events.y, events.x), 1)
    np.testing.assert_array_equal(image_of_points(event_points(events), height, width), counts)


def test_votes_outside_are_lost_and_weights_count() -> None:
    points = np.array([[-0.25, 0.0], [1.5, 1.0], [90.0, -90.0], [-1.0, 0.0]])
    np.testing.assert_allclose(image_of_points(points, 2, 2), [[0.75, 0.0], [0.0, 0.5]])
    weighted = image_of_points(points, 2, 2, np.array([2.0, -1.0, 1.0, 1.0]))
    np.testing.assert_allclose(weighted, [[1.5, 0.0], [0.0, -0.5]])


def test_measures_of_known_images() -> None:
    ramp = np.tile(np.arange(5.0) * 3, (4, 1))
    assert image_variance(ramp) == pytest.approx(9 * 2)
    assert gradient_magnitude(ramp) == pytest.approx(9)
    with pytest.raises(ValueError, match="a gradient needs 2 x 2 pixels"):
        gradient_magnitude(np.zeros((1, 9)))


def test_flow_is_sampled_between_pixels_and_held_beyond_the_border() -> None:
    flow = np.stack([np.tile(np.arange(4.0), (3, 1)), np.tile(np.arange(3.0)[:, None] * 10, (1, 4))])
    points = np.array([[0.0, 0.0], [1.25, 0.5], [3.0, 2.0], [-5.0, 7.0], [9.0, -1.0]])
    expected = [[0, 0], [1.25, 5], [3, 20], [0, 20], [3, 0]]
    np.testing.assert_allclose(sample_flow(flow, points), expected)
    np.testing.assert_allclose(sample_flow(np.ones((2, 1, 1)), points), np.ones((5, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MotionCompensation(np.zeros((3, 4, 4)), 10), r"flow has shape \(3, 4, 4\), expected \(2, H, W\)"),
        (lambda: MotionCompensation(np.full((2, 4, 4), np.nan), 10), "not finite"),
        (lambda: MotionCompensation(np.zeros((2, 4, 4)), 0), "duration is 0"),
        (lambda: MotionCompensation(np.zeros((2, 4, 4)), 10)(random_events(0, 5)), "events of 9x12 pixels, flow of"),
        (lambda: image_of_points(np.zeros((3, 3)), 4, 4), r"points have shape \(3, 3\), expected \(N, 2\)"),
        (lambda: sample_flow(np.zeros((2, 4, 4)), np.zeros(2)), "points have shape"),
    ],
)
def test_wrong_shapes_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def given_flow(name: str) -> np.ndarray:
    return np.asarray(np.load(IJRR / name / "flow.npy")[0], np.float64)


@real
@pytest.mark.parametrize("name", NAMES)
def test_the_given_flow_is_that_of_the_given_rotation(name: str) -> None:
    undistort = Undistort.from_file(IJRR / name / "calib.txt", "same")
    turning = np.array((IJRR / name / "motion.txt").read_text().split(), np.float64)
    recording = TextRecording(IJRR / name)
    seconds = (recording.t_last_us - recording.t_first_us) / 1e6
    error = np.abs(rotational_flow(undistort.matrix, turning, 180, 240) * seconds - given_flow(name))
    # Over all four it is 2e-7 px; what is left is the rounding of the times in the file.
    assert error.mean() < 4e-7


@real
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("boxes_rotation", (0.339, 0.538, 0.291)),
        ("shapes_rotation", (1.323, 3.959, 0.856)),
        ("dynamic_rotation", None),
        ("poster_rotation", None),
    ],
)
def test_warping_with_the_given_flow_raises_contrast(name: str, expected: tuple[float, ...] | None) -> None:
    raw = TextRecording(IJRR / name).events(0, 2**40)
    span = int(raw.t[-1] - raw.t[0])
    # events.npy counts from the reference time, and its first event is the recording's.
    reference = int(raw.t[0]) - round(float(np.load(IJRR / name / "events.npy")[0, 0]) * 1e6)
    flat = Undistort.from_file(IJRR / name / "calib.txt", "same").points(raw)
    images = []
    for sign in (0, 1, -1):
        points = MotionCompensation(sign * given_flow(name), span, reference).warp(flat, raw.t)
        nearest = np.rint(points)
        # Away from the border, where events that come from outside would be missing.
        inner = ((nearest >= 1) & (nearest <= (238, 178))).all(axis=1)
        images.append(image_of_points(points[inner], 180, 240))
    still, along, against = (image_variance(image) for image in images)
    assert along > 1.3 * still and still > against
    if expected is not None:
        np.testing.assert_allclose((still, along, against), expected, atol=6e-4)
    sharpness = [gradient_magnitude(image) for image in images]
    assert sharpness[1] > sharpness[0]
