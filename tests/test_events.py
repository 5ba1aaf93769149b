"""The dtype contract of Events: what it refuses, what it converts, and that it never touches its inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsam.events import COLUMNS, Events, concatenate


def make(num_events: int = 50, height: int = 6, width: int = 9, seed: int = 0) -> Events:
    random = np.random.default_rng(seed)
    return Events(
        x=random.integers(0, width, num_events).astype(np.uint16),
        y=random.integers(0, height, num_events).astype(np.uint16),
        t=np.sort(random.integers(0, 100, num_events)),
        p=random.integers(0, 2, num_events).astype(np.uint8),
        height=height,
        width=width,
    )


def columns(**changes: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.zeros(3, dtype) for name, dtype in COLUMNS.items()} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros(3, np.int64)}, "x is int64, expected uint16"),
        ({"t": np.zeros(3, np.float64)}, "t is float64, expected int64"),
        ({"p": np.zeros(3, np.int8)}, "p is int8, expected uint8"),
        ({"y": np.zeros(2, np.uint16)}, r"y has shape \(2,\)"),
        ({"x": np.array([0, 9, 0], np.uint16)}, "x reaches 9, outside the sensor's width of 9"),
        ({"y": np.array([0, 7, 0], np.uint16)}, "y reaches 7, outside the sensor's height of 6"),
        ({"p": np.array([0, 2, 0], np.uint8)}, "p reaches 2"),
        ({"t": np.array([0, 5, 4], np.int64)}, "t goes back at event 2, from 5 to 4 us"),
    ],
)
def test_faulty_columns_are_refused(changes: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Events(**columns(**changes), height=6, width=9)


def test_two_dimensional_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="expected equal, 1-D"):
        Events(**{name: np.zeros((2, 2), dtype) for name, dtype in COLUMNS.items()}, height=6, width=9)


@pytest.mark.parametrize("side", [0, -3, 2**16 + 1, 2.0, True])
def test_impossible_sensor_sizes_are_refused(side: object) -> None:
    with pytest.raises(ValueError, match="height is"):
        Events(**columns(), height=side, width=9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "polarity",
    [
        np.array([-1, 1, -1]),
        np.array([-1, 1, -1], np.int8),
        np.array([0, 1, 0], np.int64),
        np.array([False, True, False]),
        np.array([-1.0, 1.0, -1.0]),
        np.array([0, 1, 0], np.uint8),
    ],
)
def test_every_polarity_convention_is_converted(polarity: np.ndarray) -> None:
    before = polarity.copy()
    events = Events.from_arrays([1, 2, 3], [0, 0, 0], [7, 7, 8], polarity, height=1, width=4)
    assert events.p.dtype == np.uint8
    assert events.p.tolist() == [0, 1, 0]
    assert (polarity == before).all()


@pytest.mark.parametrize(
    ("x", "t", "p", "message"),
    [
        ([-1], [0], [0], "x runs from -1"),
        ([70000], [0], [0], "to 70000"),
        ([1.5], [0], [0], "x has dtype float64"),
        ([1], [0.25], [0], "expected integer us"),
        ([1], [0], [2], "values other than -1, 0, 1"),
        ([1], [0], [np.nan], "values other than -1, 0, 1"),
        ([1], np.array([2**63], np.uint64), [0], "more than int64 holds"),
        ([4], [0], [0], "x reaches 4"),
    ],
)
def test_from_arrays_names_the_source(x: list[float], t: list[float], p: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Events.from_arrays(x, [0], t, p, height=1, width=4, source="night.txt")
    assert str(caught.value).startswith("night.txt: ")


def test_arrays_are_read_only_and_the_callers_are_not() -> None:
    given_columns = columns()
    events = Events(**given_columns, height=6, width=9)
    with pytest.raises(ValueError, match="read-only"):
        events.t[0] = 1
    given_columns["t"][2] = 9
    assert given_columns["t"].flags.writeable


def test_empty_events_work_everywhere() -> None:
    empty = Events.empty(4, 5)
    assert len(empty) == 0
    assert len(empty.between(0, 10)) == len(empty.crop(0, 0, 2, 2)) == len(empty.flip_horizontal()) == 0
    assert len(concatenate([empty, empty])) == 0
    assert len(Events.from_arrays([], [], [], [], height=4, width=5)) == 0


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(-5, 35), st.integers(0, 20))
def test_between_is_half_open(times: list[int], t0: int, length: int) -> None:
    t = np.sort(np.array(times, np.int64))
    zeros = np.zeros(len(t), np.uint16)
    window = Events(zeros, zeros, t, zeros.astype(np.uint8), 1, 1).between(t0, t0 + length)
    assert window.t.tolist() == [value for value in t.tolist() if t0 <= value < t0 + length]


def test_between_refuses_a_window_that_ends_before_it_starts() -> None:
    with pytest.raises(ValueError, match="ends before it starts"):
        make().between(5, 4)


def test_adjacent_windows_rebuild_the_stream() -> None:
    events = make()
    joined = concatenate([events.between(a, a + 10) for a in range(0, 100, 10)])
    assert all((getattr(joined, name) == getattr(events, name)).all() for name in COLUMNS)


def test_crop_keeps_the_inside_in_its_own_coordinates() -> None:
    events = make()
    cropped = events.crop(top=1, left=2, height=3, width=4)
    inside = (events.y >= 1) & (events.y < 4) & (events.x >= 2) & (events.x < 6)
    assert (cropped.height, cropped.width) == (3, 4)
    assert (cropped.x == events.x[inside] - 2).all()
    assert (cropped.y == events.y[inside] - 1).all()
    assert (cropped.t == events.t[inside]).all()
    # What a crop makes passes the checks of the constructor.
    Events(cropped.x, cropped.y, cropped.t, cropped.p, cropped.height, cropped.width)


@pytest.mark.parametrize("box", [(-1, 0, 2, 2), (0, 8, 2, 2), (5, 0, 2, 2)])
def test_crop_outside_the_sensor_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="leaves the sensor"):
        make().crop(*box)


def test_flip_twice_is_the_identity() -> None:
    events = make()
    flipped = events.flip_horizontal()
    assert (flipped.x == 8 - events.x.astype(int)).all()
    assert flipped.x.dtype == np.uint16
    assert (flipped.flip_horizontal().x == events.x).all()


def test_concatenate_refuses_disorder_and_mixed_sensors() -> None:
    events = make()
    with pytest.raises(ValueError, match="part 1 starts at"):
        concatenate([events.between(50, 100), events.between(0, 50)])
    with pytest.raises(ValueError, match="part 1 has sensor 7x9"):
        concatenate([events, Events.empty(7, 9)])
    with pytest.raises(ValueError, match="nothing to concatenate"):
        concatenate([])


def test_repr_does_not_print_arrays() -> None:
    assert repr(make(0)) == "Events(0, height=6, width=9)"
    assert "us" in repr(make(5))
