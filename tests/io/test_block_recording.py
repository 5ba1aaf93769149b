"""Blocks to recordings: random access, chunks and the policies agree with the whole sorted or mended by numpy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsam.io.block_recording import (
    NO_PIXEL,
    BlockRecording,
    BlockTable,
    ColumnsSource,
    from_seconds,
    to_pixels,
    to_polarity,
)
from eventsam.io.recording import Faults, OpenOptions, RecordingError

HEIGHT, WIDTH = 8, 16
PATH = Path("recording.bin")


def columns(times: Sequence[int]) -> tuple[np.ndarray, ...]:
    number = np.arange(len(times))
    x, y, p = (number % WIDTH).astype(np.uint16), (number % HEIGHT).astype(np.uint16), (number % 2).astype(np.uint8)
    return x, y, np.array(times, np.int64), p


def recording(times: Sequence[int], block: int = 3, **options: str) -> BlockRecording:
    source = ColumnsSource(columns(times), block)  # type: ignore[arg-type]
    return BlockRecording("test", PATH, (HEIGHT, WIDTH), source, OpenOptions(**options))  # type: ignore[arg-type]


TIMES = st.lists(st.integers(0, 40), max_size=30)


@given(TIMES, st.integers(1, 5), st.integers(-3, 45), st.integers(0, 45))
def test_sorting_equals_a_stable_sort_of_the_whole(times: list[int], block: int, t0: int, length: int) -> None:
    opened = recording(times, block, backward="sort")
    x, y, t, p = columns(times)
    order = np.argsort(t, kind="stable")
    check(opened, (x[order], y[order], t[order], p[order]), t0, t0 + length)


@given(TIMES, st.integers(1, 5), st.integers(-3, 45), st.integers(0, 45))
def test_running_maximum_equals_that_of_the_whole(times: list[int], block: int, t0: int, length: int) -> None:
    opened = recording(times, block, backward="running_maximum")
    x, y, t, p = columns(times)
    check(opened, (x, y, np.maximum.accumulate(t), p), t0, t0 + length)
    backward = np.count_nonzero(t < np.maximum.accumulate(t)) if len(t) else 0
    assert opened.faults() == Faults(num_backward=backward)


@given(TIMES, st.integers(1, 5), st.integers(-3, 45), st.integers(0, 45))
def test_refusing_passes_sorted_times_and_no_others(times: list[int], block: int, t0: int, length: int) -> None:
    check(recording(sorted(times), block), columns(sorted(times)), t0, t0 + length)
    if times != sorted(times):
        with pytest.raises(RecordingError, match=r"recording.bin: time goes back at event \d+, from"):
            recording(times, block).read()


def check(opened: BlockRecording, whole: tuple[np.ndarray, ...], t0: int, t1: int) -> None:
    t = whole[2]
    inside = (t >= t0) & (t < t1)
    window, read = opened.events(t0, t1), opened.read()
    pieces = list(opened.chunks(max_events=4))
    assert all(1 <= len(piece) <= 4 for piece in pieces)
    for number, name in enumerate("xytp"):
        np.testing.assert_array_equal(getattr(window, name), whole[number][inside])
        np.testing.assert_array_equal(getattr(read, name), whole[number])
        joined = np.concatenate([getattr(piece, name) for piece in pieces]) if pieces else np.empty(0)
        np.testing.assert_array_equal(joined, whole[number])
    assert opened.num_events == len(t)
    assert (opened.t_first_us, opened.t_last_us) == ((t[0], t[-1]) if len(t) else (0, 0))


def test_the_event_where_time_goes_back_is_named() -> None:
    with pytest.raises(RecordingError, match="at event 4, from 9 to 8 us; backward='sort' sorts"):
        recording([1, 2, 3, 9, 8], block=3).read()
    with pytest.raises(RecordingError, match="at event 3, from 9 to 8 us"):
        recording([1, 2, 9, 8, 9], block=3)


def test_events_outside_the_sensor_are_refused_or_counted() -> None:
    x, y, t, p = columns(range(7))
    x = x.copy()
    x[4] = NO_PIXEL
    source = ColumnsSource((x, y, t, p), 3)
    with pytest.raises(RecordingError, match="event 4 lies at x=65535, y=4, outside the sensor of height 8, width 16"):
        BlockRecording("test", PATH, (HEIGHT, WIDTH), source, OpenOptions()).read()
    kept = BlockRecording("test", PATH, (HEIGHT, WIDTH), source, OpenOptions(outside="drop"))
    assert kept.faults() == Faults(num_outside=1)
    assert kept.num_events == len(kept.read()) == 6


@pytest.mark.parametrize("block", [1, 2, 5])
def test_dropped_events_raise_the_running_maximum_wherever_blocks_end(block: int) -> None:
    x, y, t, p = columns([1, 9, 3, 4, 10])
    x = x.copy()
    x[1] = NO_PIXEL
    options = OpenOptions(backward="running_maximum", outside="drop")
    opened = BlockRecording("test", PATH, (HEIGHT, WIDTH), ColumnsSource((x, y, t, p), block), options)
    assert opened.read().t.tolist() == [1, 9, 9, 10]


def test_the_last_time_that_int64_holds_is_read() -> None:
    assert recording([1, 2**63 - 1]).read().t.tolist() == [1, 2**63 - 1]


def test_a_table_that_lies_is_found_out() -> None:
    class Lying(ColumnsSource):
        def table(self) -> BlockTable:
            table = super().table()
            return BlockTable(table.count, table.t_min, table.t_max - 1, table.place)

    with pytest.raises(RecordingError, match="block 0 runs from 5 to 7 us, its index says from 5 to 6 us"):
        BlockRecording("test", PATH, (HEIGHT, WIDTH), Lying(columns([5, 6, 7])), OpenOptions()).read()


def test_bad_requests() -> None:
    opened = recording([1, 2])
    with pytest.raises(ValueError, match="ends before it starts"):
        opened.events(5, 4)
    with pytest.raises(ValueError, match="max_events is 0"):
        next(opened.chunks(0))
    for options, message in (({"height": 4}, "together"), ({"backward": "skip"}, "allowed: refuse, sort")):
        with pytest.raises(ValueError, match=message):
            OpenOptions(**options)  # type: ignore[arg-type]


def test_the_size_comes_from_the_file_or_the_caller() -> None:
    given = OpenOptions(height=3, width=4)
    assert OpenOptions().size(PATH, (5, 6)) == (5, 6) and given.size(PATH, None) == given.size(PATH, (3, 4)) == (3, 4)
    for options, stated, message in (
        (OpenOptions(), None, "does not state the sensor size"),
        (given, (5, 6), "states height 5, width 6 pixels, asked for height 3, width 4"),
        (OpenOptions(), (0, 6), "allowed: 1 to 65535"),
    ):
        with pytest.raises(RecordingError, match=message):
            options.size(PATH, stated)


def test_column_conversions() -> None:
    np.testing.assert_array_equal(to_pixels(np.array([-1, 0, 70000])), [NO_PIXEL, 0, NO_PIXEL])
    np.testing.assert_array_equal(to_pixels(np.array([1.0, 2.0])), [1, 2])
    np.testing.assert_array_equal(to_polarity(np.array([-1, 1, 0])), [0, 1, 0])
    np.testing.assert_array_equal(from_seconds(np.array([1.5e9 + 1e-6])), [1_500_000_000_000_001])
    for convert, values in ((to_pixels, [0.5]), (to_polarity, [2]), (from_seconds, [np.nan]), (from_seconds, [1e300])):
        with pytest.raises(ValueError):
            convert(np.array(values))
