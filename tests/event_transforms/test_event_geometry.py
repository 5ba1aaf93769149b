"""Flips, crops and scales: where events land, and how many stay."""

import numpy as np
import pytest
from events_support import random_events, same, some_events
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.event_transforms import CropEvents, FlipEvents, RandomCropEvents, ScaleEvents
from eventsam.events import Events

RNG = np.random.default_rng(0)


def counts(events: Events) -> np.ndarray:
    image = np.zeros((events.height, events.width), np.int64)
    np.add.at(image, (events.y, events.x), 1)
    return image


@given(some_events())
def test_flips_mirror_the_image_and_undo_themselves(events: Events) -> None:
    for direction, axis in (("horizontal", 1), ("vertical", 0)):
        flip = FlipEvents(direction, 1.0)  # type: ignore[arg-type]
        np.testing.assert_array_equal(counts(flip(events, RNG)), np.flip(counts(events), axis))
        assert same(flip(flip(events, RNG), RNG), events)


def test_probability_decides_how_often_events_flip() -> None:
    events, rng = random_events(0, 20), np.random.default_rng(0)
    flips = sum(not same(FlipEvents(probability=0.25)(events, rng), events) for _ in range(400))
    assert 70 < flips < 130
    assert FlipEvents(probability=0.0)(events, rng) is events


def test_a_crop_shows_its_box() -> None:
    events = random_events(1, 500, height=20, width=30)
    np.testing.assert_array_equal(counts(CropEvents(3, 5, 8, 11)(events)), counts(events)[3:11, 5:16])
    with pytest.raises(ValueError, match="leaves the sensor"):
        CropEvents(15, 0, 8, 8)(events)


def test_random_crops_reach_every_place_and_show_one() -> None:
    events, rng = random_events(2, 800, height=5, width=6), np.random.default_rng(0)
    image = counts(events)
    boxes = {(top, left): image[top : top + 3, left : left + 4] for top in range(3) for left in range(3)}
    seen = set()
    for _ in range(200):
        cropped = counts(RandomCropEvents(3, 4)(events, rng))
        seen |= {place for place, box in boxes.items() if np.array_equal(box, cropped)}
    assert seen == set(boxes)
    with pytest.raises(ValueError, match="crop of 6 x 4 pixels, larger than the sensor of 5 x 6"):
        RandomCropEvents(6, 4)(events, rng)


@given(some_events(), st.integers(1, 25), st.integers(1, 25))
def test_scaling_moves_pixel_centres(events: Events, height: int, width: int) -> None:
    scaled = ScaleEvents(height, width)(events)
    assert len(scaled) == len(events)
    np.testing.assert_array_equal(scaled.x, np.floor((events.x + 0.5) * width / events.width).astype(int))
    np.testing.assert_array_equal(scaled.y, np.floor((events.y + 0.5) * height / events.height).astype(int))


def test_doubling_and_halving_gives_the_events_back() -> None:
    events = random_events(3, 400)
    assert same(ScaleEvents(9, 12)(ScaleEvents(18, 24)(events)), events)
    assert same(ScaleEvents(18, 24, "random")(events, RNG), ScaleEvents(18, 24)(events))


def test_random_thinning_keeps_the_density() -> None:
    events = random_events(4, 40_000, height=40, width=40)
    thinned = ScaleEvents(20, 20, "random")(events, np.random.default_rng(0))
    assert len(thinned) / 400 == pytest.approx(len(events) / 1600, rel=0.05)
    with pytest.raises(ValueError, match="give a numpy Generator"):
        ScaleEvents(20, 20, "random")(events)


@settings(deadline=None)
@given(some_events(400), st.integers(1, 20), st.integers(1, 20))
def test_averaging_fires_once_per_whole_pixel_of_change(events: Events, height: int, width: int) -> None:
    """Against the definition in whole numbers, event by event."""
    averaged = ScaleEvents(height, width, "average")(events)
    scaled = ScaleEvents(height, width)(events)
    old, new = events.height * events.width, height * width
    if new >= old:
        assert same(averaged, scaled)
        return
    charge, kept = np.zeros((height, width), np.int64), []
    for i in range(len(scaled)):
        sign = 1 if scaled.p[i] else -1
        charge[scaled.y[i], scaled.x[i]] += sign * new
        if charge[scaled.y[i], scaled.x[i]] * sign >= old:
            charge[scaled.y[i], scaled.x[i]] -= sign * old
            kept.append(i)
    np.testing.assert_array_equal(averaged.t, scaled.t[kept])
    np.testing.assert_array_equal(averaged.x, scaled.x[kept])
    np.testing.assert_array_equal(averaged.p, scaled.p[kept])


def test_averaging_keeps_what_an_area_shares_and_cancels_noise() -> None:
    y, x = np.divmod(np.arange(16), 4)
    together = Events.from_arrays(x, y, np.arange(16), np.ones(16, np.uint8), height=4, width=4)
    assert counts(ScaleEvents(2, 2, "average")(together)).tolist() == [[1, 1], [1, 1]]
    flicker = Events.from_arrays([0] * 8, [0] * 8, np.arange(8), [1, 0] * 4, height=4, width=4)
    assert len(ScaleEvents(2, 2, "average")(flicker)) == 0
