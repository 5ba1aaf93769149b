"""Event frames: cut where the rule says, however the events come."""

import numpy as np
import pytest

from eventsam.events import Events
from eventsam.simulate.exposure import EventFrame, EventFramer, Exposure, parse_exposure


def _events(t: list[int], x: list[int] | None = None, p: list[int] | None = None) -> Events:
    count = len(t)
    return Events.from_arrays(x or [0] * count, [0] * count, t, p or [1] * count, height=4, width=8)


def _cut(exposure: Exposure, events: Events, chunk: int) -> list[EventFrame]:
    framer = EventFramer(exposure, events.height, events.width, 0)
    frames = []
    for first in range(0, len(events), chunk):
        frames += framer.push(events.slice(first, min(first + chunk, len(events))))
    return frames + framer.flush()


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_duration_gives_even_frames_also_where_nothing_happens(chunk: int) -> None:
    frames = _cut(Exposure(duration_us=10), _events([1, 9, 10, 35]), chunk)
    assert [(frame.t0_us, frame.t1_us, frame.num_events) for frame in frames] == [
        (0, 10, 2), (10, 20, 1), (20, 30, 0), (30, 35, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_count_ends_with_its_last_event(chunk: int) -> None:
    frames = _cut(Exposure(num_events=2), _events([1, 9, 10, 35, 40]), chunk)
    assert [(frame.t0_us, frame.t1_us, frame.num_events) for frame in frames] == [(0, 9, 2), (9, 35, 2), (35, 40, 1)]


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_area_count_waits_for_the_busiest_square(chunk: int) -> None:
    events = _events([1, 2, 3, 4, 5, 6], x=[0, 4, 5, 1, 1, 7])
    frames = _cut(Exposure(num_events=2, area_px=4), events, chunk)
    assert [frame.num_events for frame in frames] == [3, 2, 1]


def test_pixels_show_the_balance_of_signs() -> None:
    frame = _cut(Exposure(num_events=6), _events([1, 2, 3, 4, 5, 6], [0, 0, 1, 2, 2, 2], [1, 1, 1, 0, 0, 0]), 10)[0]
    np.testing.assert_array_equal(frame.image[0, :4], [255, 191, 0, 128])


def test_words_of_v2e() -> None:
    assert parse_exposure(["duration", "0.005"]) == Exposure(duration_us=5000)
    assert parse_exposure(["count", "2000"]) == Exposure(num_events=2000)
    assert parse_exposure(["area_count", "500", "64"]) == Exposure(num_events=500, area_px=64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["area", "5"], "area_count"),
        (["count"], "count EVENTS"),
        (["count", "many"], "count EVENTS"),
        (["area_count", "5"], "EVENTS PIXELS"),
        (["duration", "0"], "duration_us of an exposure is 0"),
        (["count", "-3"], "-3"),
    ],
)
def test_other_words_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_exposure(words)


def test_an_exposure_has_one_rule() -> None:
    for wrong in ({}, {"duration_us": 5, "num_events": 5}, {"duration_us": 5, "area_px": 2}):
        with pytest.raises(ValueError, match="duration"):
            Exposure(**wrong)
