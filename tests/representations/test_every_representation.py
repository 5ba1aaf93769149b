"""What holds for each of them: `into`, batches, threads, costs, views, empty and odd windows."""

from itertools import pairwise

import numpy as np
import pytest

from eventsam.events import Events
from eventsam.representations import Representation
from eventsam.representations.batch import represent_batch
from eventsam.representations.blank import Blank
from eventsam.representations.histogram import Histogram
from eventsam.representations.mixed_density import MixedDensity
from eventsam.representations.polarity_histogram import PolarityHistogram
from eventsam.representations.tencode import Tencode
from eventsam.representations.time_surface import TimeSurface
from eventsam.representations.voxel_grid import VoxelGrid
from eventsam.spec import spec

HEIGHT, WIDTH = 9, 13
EVERY: list[Representation] = [
    Tencode(),
    Tencode("events", "white"),
    VoxelGrid(),
    VoxelGrid(3, normalize=True, reference="events"),
    VoxelGrid(exact=True),
    VoxelGrid(4, True, exact=True),
    Histogram(),
    Histogram(4, None, reference="window", ends="inclusive"),
    Histogram(wrapping=True),
    PolarityHistogram(),
    TimeSurface(),
    TimeSurface(0.2, "events"),
    MixedDensity(),
    MixedDensity(wrapping=True),
    Blank(2),
]
each = pytest.mark.parametrize("representation", EVERY, ids=repr)


def stream(num_events: int = 20_000, span: int = 60_000, height: int = HEIGHT, width: int = WIDTH) -> Events:
    random = np.random.default_rng(num_events)
    t = np.sort(random.integers(0, span, num_events))
    x, y, p = (random.integers(0, limit, num_events) for limit in (width, height, 2))
    return Events.from_arrays(x, y, t, p, height=height, width=width)


@each
def test_shape_type_and_untouched_inputs(representation: Representation) -> None:
    events = stream()
    before = [getattr(events, name).copy() for name in "xytp"]
    image = representation(events, 1000, 50_000)
    assert image.shape == (representation.num_channels, HEIGHT, WIDTH)
    assert image.dtype == representation.dtype and image.flags.c_contiguous
    assert (image == representation(events, 1000, 50_000)).all()
    assert all((a == getattr(events, name)).all() for a, name in zip(before, "xytp", strict=True))


@each
@pytest.mark.parametrize(("t0", "t1"), [(0, 60_000), (500, 501), (7, 7), (-10, 2**40), (90_000, 95_000)])
def test_into_writes_what_call_returns(representation: Representation, t0: int, t1: int) -> None:
    for events in (stream(), stream(30), stream(1), Events.empty(HEIGHT, WIDTH)):
        image = representation(events, t0, t1)
        out = np.full_like(image, 99)
        representation.into(events, t0, t1, out)
        assert out.tobytes() == image.tobytes()
        assert not np.isnan(image).any()


@each
def test_into_refuses_arrays_that_do_not_fit(representation: Representation) -> None:
    shape = (representation.num_channels, HEIGHT, WIDTH)
    wrong_type = np.float64 if representation.dtype == np.float32 else np.float32
    frozen = np.zeros(shape, representation.dtype)
    frozen.flags.writeable = False
    strided = np.zeros((*shape[:2], 2 * WIDTH), representation.dtype)[:, :, ::2]
    for out, message in (
        (np.zeros((shape[0], WIDTH, HEIGHT), representation.dtype), "expected"),
        (np.zeros(shape, wrong_type), "expected"),
        (frozen, "writeable"),
        (strided, "C-contiguous"),
    ):
        with pytest.raises(ValueError, match=message):
            representation.into(stream(), 0, 10, out)


@each
def test_window_that_ends_before_it_starts_is_refused(representation: Representation) -> None:
    with pytest.raises(ValueError, match="ends before it starts"):
        representation(stream(), 5, 4)


@each
def test_batches_do_not_depend_on_threads(representation: Representation) -> None:
    windows = [(stream(1000 * (i + 1)), 1000 * i, 60_000 - 500 * i) for i in range(9)]
    windows.append((Events.empty(HEIGHT, WIDTH), 0, 10))
    single = represent_batch(representation, windows)
    assert single.shape == (10, representation.num_channels, HEIGHT, WIDTH)
    for image, (events, t0, t1) in zip(single, windows, strict=True):
        assert (image == representation(events, t0, t1)).all()
    out = np.full_like(single, 77)
    for num_threads in (2, 5, 32):
        assert represent_batch(representation, windows, num_threads, out) is out
        assert out.tobytes() == single.tobytes()
        out.fill(33)


@each
def test_cost_is_positive_and_never_falls(representation: Representation) -> None:
    def parts(num_events: int, height: int, width: int) -> tuple[int, int, int]:
        cost = representation.cost(num_events, height, width)
        return cost.bytes_read, cost.bytes_written, cost.scratch_bytes

    image = representation(stream(), 0, 60_000)
    assert parts(20_000, HEIGHT, WIDTH)[1] == image.nbytes
    assert min(parts(0, 1, 1)) >= 0
    sizes = [(0, 4, 4), (10, 4, 4), (10, 40, 4), (10_000, 40, 40), (10_000_000, 40, 40), (10_000_000, 720, 1280)]
    costs = [parts(*size) for size in sizes]
    for smaller, larger in pairwise(costs):
        assert all(a <= b for a, b in zip(smaller, larger, strict=True))


@each
def test_to_rgb_is_an_image(representation: Representation) -> None:
    image = representation(stream(), 0, 60_000)
    kept = image.copy()
    shown = representation.to_rgb(image)
    assert shown.dtype == np.uint8 and shown.shape == (3, HEIGHT, WIDTH)
    assert (image == kept).all()
    if not isinstance(representation, Blank):
        assert len(np.unique(shown)) > 1
        with pytest.raises(ValueError, match="given"):
            representation.to_rgb(image[:-1])


def test_brighter_is_red_and_darker_is_blue() -> None:
    events = Events.from_arrays([0, 1], [0, 0], [5, 5], [1, 0], height=HEIGHT, width=WIDTH)
    for representation in (Histogram(), PolarityHistogram(), TimeSurface(), MixedDensity(), VoxelGrid()):
        shown = representation.to_rgb(representation(events, 0, 10))
        assert shown[:, 0, 0].tolist() == [255, 0, 0] and shown[:, 0, 1].tolist() == [0, 0, 255]
        assert (shown[:, 1:] == 255).all()


def test_specs_of_representations_can_be_written_down() -> None:
    for representation in EVERY:
        assert spec(type(representation)) is not None


def test_batches_refuse_what_does_not_fit() -> None:
    small, large = stream(10), stream(10, height=HEIGHT + 1)
    with pytest.raises(ValueError, match="no windows"):
        represent_batch(Tencode(), [])
    with pytest.raises(ValueError, match=r"window 1 has sensor 10x13, window 0 has 9x13"):
        represent_batch(Tencode(), [(small, 0, 1), (large, 0, 1)])
    with pytest.raises(ValueError, match="num_threads is 0"):
        represent_batch(Tencode(), [(small, 0, 1)], 0)
    with pytest.raises(ValueError, match="out is uint8"):
        represent_batch(Tencode(), [(small, 0, 1)], out=np.empty((1, 2, HEIGHT, WIDTH), np.uint8))
    for num_threads in (1, 2):
        with pytest.raises(ValueError, match="window 1: window ends before it starts"):
            represent_batch(Tencode(), [(small, 0, 1), (small, 3, 1)], num_threads)


@each
def test_interleaved_sizes_leave_no_trace(representation: Representation) -> None:
    # Working memory is kept from window to window: what a larger sensor left must not show in a smaller one.
    first = representation(stream(), 0, 60_000)
    representation(stream(5000, height=60, width=80), 0, 60_000)
    assert (representation(stream(), 0, 60_000) == first).all()
