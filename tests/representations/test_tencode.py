"""Tencode: against a plain loop over the definition, and at its edges."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.events import Events
from eventsam.representations.tencode import Tencode, level_edges

HEIGHT, WIDTH = 5, 7
event = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 1000), st.integers(0, 1))


def make(rows: list[tuple[int, int, int, int]]) -> Events:
    columns = zip(*sorted(rows, key=lambda row: row[2]), strict=True) if rows else ([], [], [], [])
    x, y, t, p = (list(column) for column in columns)
    return Events.from_arrays(x, y, t, p, height=HEIGHT, width=WIDTH)


def by_definition(events: Events, t0: int, t1: int, reference: str, background: int) -> np.ndarray:
    image = np.full((3, HEIGHT, WIDTH), background, np.uint8)
    rows = [row for row in zip(events.x, events.y, events.t.tolist(), events.p, strict=True) if t0 <= row[2] < t1]
    start, end = (t0, t1) if reference == "window" or not rows else (rows[0][2], rows[-1][2])
    for x, y, t, p in rows:
        green = floor(Fraction((end - t) * 255, end - start) + Fraction(1, 2)) if end > start else 255
        image[:, y, x] = (255 * p, green, 255 * (1 - p))
    return image


@settings(max_examples=60, deadline=None)
@given(st.lists(event, max_size=80), st.integers(-50, 500), st.integers(0, 700))
def test_equals_the_definition(rows: list[tuple[int, int, int, int]], t0: int, length: int) -> None:
    events = make(rows)
    for reference in ("window", "events"):
        for background, level in (("black", 0), ("white", 255)):
            image = Tencode(reference, background)(events, t0, t0 + length)
            assert image.dtype == np.uint8
            assert (image == by_definition(events, t0, t0 + length, reference, level)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(-(2**40), 2**40), st.integers(1, 10**13))
def test_levels_are_exact_for_any_span(t0: int, duration: int) -> None:
    # Times next to every change of level, where a rounded division would fail first.
    near = [t0 + duration * (2 * k + 1) // 510 + step for k in range(255) for step in (-1, 0, 1)]
    t = np.array(sorted(value for value in near if t0 <= value <= t0 + duration), np.int64)
    edges = level_edges(t, t0, t0 + duration)
    levels = np.repeat(np.arange(255, -1, -1), np.diff(edges))
    expected = [floor(Fraction((t0 + duration - value) * 255, duration) + Fraction(1, 2)) for value in t.tolist()]
    assert levels.tolist() == expected


def test_last_event_in_array_order_wins_at_equal_times() -> None:
    events = Events.from_arrays([2, 2], [1, 1], [5, 5], [1, 0], height=HEIGHT, width=WIDTH)
    for reference in ("window", "events"):
        assert Tencode(reference)(events, 5, 6)[:, 1, 2].tolist() == [0, 255, 255]


@pytest.mark.parametrize("times", [[400], [400, 400]])
def test_one_instant_is_oldest(times: list[int]) -> None:
    n = len(times)
    events = Events.from_arrays([3] * n, [2] * n, times, [1] * n, height=HEIGHT, width=WIDTH)
    image = Tencode("events")(events, 0, 1000)
    assert image[:, 2, 3].tolist() == [255, 255, 0]
    assert np.count_nonzero(image) == 2


def test_window_reference_runs_from_255_at_the_start_to_0_at_the_end() -> None:
    events = Events.from_arrays([0, 1, 2], [0, 0, 0], [0, 500, 999], [1, 1, 1], height=HEIGHT, width=WIDTH)
    assert Tencode()(events, 0, 1000)[1, 0, :3].tolist() == [255, 128, 0]


@pytest.mark.parametrize(("background", "level"), [("black", 0), ("white", 255)])
def test_empty_window_is_background(background: str, level: int) -> None:
    for events in (Events.empty(HEIGHT, WIDTH), make([(1, 1, 900, 1)])):
        for reference in ("window", "events"):
            assert (Tencode(reference, background)(events, 0, 900) == level).all()
            assert (Tencode(reference, background)(events, 7, 7) == level).all()


def test_inputs_are_untouched_and_negative_polarity_equals_zero() -> None:
    x, y, t = np.array([1, 2]), np.array([3, 3]), np.array([10, 20])
    signed, unsigned = np.array([-1, 1]), np.array([0, 1])
    images = [Tencode()(Events.from_arrays(x, y, t, p, height=HEIGHT, width=WIDTH), 0, 30) for p in (signed, unsigned)]
    assert (images[0] == images[1]).all()
    assert x.tolist() == [1, 2] and t.tolist() == [10, 20] and signed.tolist() == [-1, 1]


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="reference is 'first'"):
        Tencode("first")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="allowed: black, white"):
        Tencode(background="grey")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ends before it starts"):
        Tencode()(Events.empty(2, 2), 5, 4)


def test_to_rgb_is_the_image_itself() -> None:
    image = Tencode()(make([(1, 1, 9, 1)]), 0, 10)
    shown = Tencode().to_rgb(image)
    assert (shown == image).all() and shown is not image
    assert Tencode().num_channels == 3
    with pytest.raises(ValueError, match="uint8"):
        Tencode().to_rgb(image.astype(np.float32))
