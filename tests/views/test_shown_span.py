"""Which part is shown, and which windows: seconds from the first event, whole windows, ends included."""

import pytest
from events_support import random_events
from hypothesis import given
from hypothesis import strategies as st
from recordings_support import HeldRecording

from eventsam.events import Events
from eventsam.views.span import Span, shown_span, spread, window_starts


def recording() -> HeldRecording:
    return HeldRecording(
        Events.from_arrays([0] * 3, [0] * 3, [5_000_000, 6_000_000, 7_000_000], [1] * 3, height=2, width=2)
    )


def test_the_whole_recording_is_shown_unless_told_otherwise() -> None:
    assert shown_span(recording()) == Span(5_000_000, 7_000_001, 5_000_000)
    assert shown_span(recording(), 0.5, 1.25) == Span(5_500_000, 6_250_000, 5_000_000)
    assert shown_span(recording(), end_s=99.0).t1 == 7_000_001
    assert shown_span(recording()).seconds(6_500_000) == 1.5
    assert shown_span(recording(), 0.5, 1.25).duration == 750_000


@pytest.mark.parametrize(("start", "end"), [(-1, None), (2.5, None), (1.0, 1.0), (1.5, 1.0), (float("nan"), None)])
def test_spans_outside_are_refused(start: float, end: float | None) -> None:
    with pytest.raises(ValueError, match=r"held.raw: shown from .*recording of 2 s"):
        shown_span(recording(), start, end)


def test_nothing_and_one_instant() -> None:
    with pytest.raises(ValueError, match="holds no events"):
        shown_span(HeldRecording(Events.empty(2, 2)))
    instant = HeldRecording(Events.from_arrays([0], [0], [7], [1], height=2, width=2))
    assert shown_span(instant) == Span(7, 8, 7)
    assert list(window_starts(shown_span(instant), 20.0)) == [7]


@given(st.integers(1, 10**7), st.integers(1, 10**6), st.integers(1, 10**6))
def test_windows_lie_in_the_span_and_leave_no_room_for_another(duration: int, length: int, stride: int) -> None:
    span = Span(1000, 1000 + duration, 1000)
    starts = window_starts(span, length / 1000, stride / 1000)
    assert starts[0] == span.t0
    assert len(starts) == 1 or starts[-1] + length <= span.t1
    assert starts[-1] + stride + length > span.t1


def test_long_recordings_need_no_list_of_windows() -> None:
    assert len(window_starts(Span(0, 10**13, 0), 0.001)) == 10**13


@given(st.integers(1, 1000), st.integers(1, 20))
def test_chosen_windows_are_spread_from_end_to_end(num_starts: int, num_windows: int) -> None:
    starts = range(50, 50 + 7 * num_starts, 7)
    chosen = spread(starts, num_windows)
    assert len(chosen) == len(set(chosen)) == min(num_starts, num_windows)
    assert chosen == sorted(chosen) and set(chosen) <= set(starts)
    assert chosen[0] == starts[0] and (len(chosen) == 1 or chosen[-1] == starts[-1])


def test_impossible_choices_are_refused() -> None:
    span = shown_span(HeldRecording(random_events(0, 10)))
    for arguments in ((0.0, None), (1.0, 0.0), (-1.0, 1.0)):
        with pytest.raises(ValueError, match="length_ms"):
            window_starts(span, *arguments)
    with pytest.raises(ValueError, match="num_windows is 0"):
        spread(range(5), 0)
