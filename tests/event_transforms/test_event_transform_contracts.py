"""What holds for every event transform: valid events out, untouched input, randomness from the generator alone."""

import numpy as np
import pytest
from events_support import random_events, same, some_events
from hypothesis import given, settings
from hypothesis import strategies as st

import eventsam.event_transforms
from eventsam.event_transforms import (
    BackgroundActivityFilter,
    CropEvents,
    DropArea,
    DropEvents,
    DropPolarity,
    DropTimeSpan,
    EventTransform,
    FlipEvents,
    FlipPolarity,
    HotPixelFilter,
    JitterTime,
    RandomCropEvents,
    RefractoryFilter,
    ReverseTime,
    ScaleEvents,
    ScaleTime,
    Undistort,
    apply_transforms,
)
from eventsam.events import COLUMNS, Events

BARREL = Undistort((9.0, 9.0, 6.0, 4.5), (-0.2, 0.02, 0.0, 0.001, 0.0))
TRANSFORMS: tuple[EventTransform, ...] = (
    FlipEvents("horizontal", 0.5),
    FlipEvents("vertical", 0.5),
    CropEvents(0, 0, 1, 1),
    RandomCropEvents(1, 1),
    ScaleEvents(5, 7),
    ScaleEvents(5, 7, "random"),
    ScaleEvents(5, 7, "average"),
    ScaleEvents(40, 30, "average"),
    DropPolarity("on"),
    DropPolarity("off", 1.0),
    FlipPolarity(),
    FlipPolarity(1.0, 0.3),
    JitterTime(50.0),
    ScaleTime(),
    ReverseTime(),
    DropEvents(),
    DropArea(),
    DropTimeSpan(),
    HotPixelFilter(),
    BackgroundActivityFilter(100),
    RefractoryFilter(30),
    Undistort((30.0, 30.0, 5.0, 5.0), (0.0, 0.0, 0.0, 0.0, 0.0), "same"),
)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
@settings(max_examples=25, deadline=None)
@given(events=some_events(), seed=st.integers(0, 2**31))
def test_events_stay_valid_and_the_input_untouched(transform: EventTransform, events: Events, seed: int) -> None:
    before = {name: getattr(events, name).copy() for name in COLUMNS}
    changed = transform(events, np.random.default_rng(seed))
    # The constructor checks bounds, dtypes and order anew.
    Events(changed.x, changed.y, changed.t, changed.p, changed.height, changed.width)
    assert len(changed) <= len(events)
    assert all(np.array_equal(getattr(events, name), before[name]) for name in COLUMNS)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_one_generator_state_gives_one_result(transform: EventTransform) -> None:
    events = random_events(3, 500)
    one, other = (transform(events, np.random.default_rng(7)) for _ in range(2))
    assert same(one, other)
    results = [transform(events, np.random.default_rng(seed)) for seed in range(12)]
    # Always dropping one polarity leaves nothing to chance.
    draws = transform.random and transform != DropPolarity("off", 1.0)
    assert any(not same(one, other) for other in results) == draws


@pytest.mark.parametrize("transform", [t for t in TRANSFORMS if not t.random], ids=repr)
def test_deterministic_ones_need_no_generator(transform: EventTransform) -> None:
    events = random_events(4, 300)
    assert same(transform(events), transform(events, np.random.default_rng(0)))  # type: ignore[call-arg]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_only_geometric_ones_change_the_sensor(transform: EventTransform) -> None:
    changed = transform(random_events(5, 300), np.random.default_rng(0))
    assert transform.geometric or (changed.height, changed.width) == (9, 12)


def test_every_transform_of_the_package_is_tested_here() -> None:
    exported = {getattr(eventsam.event_transforms, name) for name in eventsam.event_transforms.__all__}
    classes = {entry for entry in exported if isinstance(entry, type) and entry is not EventTransform}
    names = {entry.__name__ for entry in classes} - {type(transform).__name__ for transform in TRANSFORMS}
    # These two need data of their own: see their own tests.
    assert names == {"HotPixels", "MotionCompensation"}


def test_each_transform_of_a_list_draws_from_its_own_generator() -> None:
    events = random_events(6, 400)
    many, few = DropEvents(0.5, 0.5), DropEvents(0.0, 0.0)
    rng = np.random.default_rng(1)
    flipped = apply_transforms((many, FlipPolarity(1.0, 0.5)), events, np.random.default_rng(1))
    assert len(flipped) == 200
    # The second one's draws are those of its own child, whatever the first one drew.
    direct = FlipPolarity(1.0, 0.5)(events, rng.spawn(2)[1])
    assert same(apply_transforms((few, FlipPolarity(1.0, 0.5)), events, np.random.default_rng(1)), direct)
    assert rng.random() == np.random.default_rng(1).random()
    assert apply_transforms((), events, rng) is events


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlipEvents("sideways"), "direction is 'sideways', allowed: horizontal, vertical"),  # type: ignore[arg-type]
        (lambda: FlipEvents(probability=1.5), "probability is 1.5, allowed: 0 to 1"),
        (lambda: CropEvents(-1, 0, 2, 2), "crop top=-1 left=0"),
        (lambda: RandomCropEvents(0, 2), "crop is 0 x 2"),
        (lambda: ScaleEvents(0, 5), "size is 0 x 5"),
        (lambda: ScaleEvents(5, 5, "some"), "thinning is 'some', allowed: none, random, average"),  # type: ignore[arg-type]
        (lambda: DropPolarity("up"), "polarity is 'up', allowed: on, off"),  # type: ignore[arg-type]
        (lambda: DropPolarity("on", float("nan")), "probability is nan"),
        (lambda: FlipPolarity(share=-0.1), "share is -0.1"),
        (lambda: JitterTime(float("inf")), "sigma_us is inf"),
        (lambda: ScaleTime(0.0, 1.0), "min_factor is 0.0"),
        (lambda: ScaleTime(2.0, 1.0), "min_factor <= max_factor"),
        (lambda: ReverseTime(2.0), "probability is 2.0"),
        (lambda: DropEvents(0.4, 0.2), "min_share <= max_share <= 1"),
        (lambda: DropArea(max_share=1.1), "max_share is 1.1"),
        (lambda: DropTimeSpan(-0.5), "min_share is -0.5"),
        (lambda: HotPixelFilter(0.0), "num_deviations is 0.0"),
        (lambda: HotPixelFilter(isolation=-1.0), "isolation is -1.0"),
        (lambda: BackgroundActivityFilter(0), "support is 0, allowed: an integer from 1"),
        (lambda: BackgroundActivityFilter(1.5), "support is 1.5"),  # type: ignore[arg-type]
        (lambda: RefractoryFilter(True), "period is True"),
        (lambda: Undistort((0.0, 1.0, 1.0, 1.0), (0.0,) * 5), "camera is"),  # type: ignore[arg-type]
        (lambda: Undistort((1.0, 1.0, 1.0, 1.0), (0.0,) * 4), "distortion is"),  # type: ignore[arg-type]
        (lambda: Undistort((1.0, 1.0, 1.0, 1.0), (0.0,) * 5, "wide"), "view is 'wide', allowed: filled, same"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_impossible_choices_are_refused_where_they_are_written(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
