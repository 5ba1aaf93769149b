"""The batched kernels against the CPU's, bit for bit: torch here, Triton in its interpreter in a process of its own.

Triton decides at import whether it interprets, so one test runs this file again with TRITON_INTERPRET=1. Where there is
a CUDA device, both backends run on it too.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eventsam.events import Events
from eventsam.representations import Representation
from eventsam.representations.blank import Blank
from eventsam.representations.gpu import EventBatch, dispatch, represent
from eventsam.representations.gpu.batch import Window
from eventsam.representations.gpu.dispatch import Backend
from eventsam.representations.gpu.optional_triton import HAS_TRITON, INTERPRETED
from eventsam.representations.histogram import Histogram
from eventsam.representations.mixed_density import MixedDensity
from eventsam.representations.polarity_histogram import PolarityHistogram
from eventsam.representations.tencode import Tencode
from eventsam.representations.time_surface import TimeSurface
from eventsam.representations.voxel_grid import VoxelGrid

HEIGHT, WIDTH = 3, 4
REPRESENTATIONS: list[Representation] = [
    Tencode("window", "black"),
    Tencode("events", "white"),
    Histogram(),
    Histogram(3, None, reference="window"),
    Histogram(1, 2),
    Histogram(4, 100, wrapping=True),
    PolarityHistogram(),
    PolarityHistogram(3),
    VoxelGrid(exact=True),
    VoxelGrid(3, reference="events", exact=True),
    VoxelGrid(1, exact=True),
    TimeSurface(),
    TimeSurface(0.01, "events"),
    TimeSurface(10_000.0),
    MixedDensity(),
    MixedDensity(3, None),
    MixedDensity(5, None, wrapping=True),
    Blank(2),
]
BACKENDS: list[tuple[Backend, str]] = [("triton", "cpu")] if INTERPRETED else [("torch", "cpu")]
if torch.cuda.is_available() and not INTERPRETED:
    BACKENDS += [("torch", "cuda")] + ([("triton", "cuda")] if HAS_TRITON else [])

event = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 1000), st.integers(0, 1))
window = st.tuples(
    st.lists(event, max_size=40),
    st.sampled_from([1, 50, 1_900_000]),
    st.integers(-50, 500),
    st.sampled_from([0, 1, 7, 400, 1100]),
)


def make(rows: list[tuple[int, int, int, int]], step_us: int = 1) -> Events:
    table = np.array(sorted(rows, key=lambda row: row[2]), np.int64).reshape(-1, 4)
    return Events.from_arrays(*(table * [1, 1, step_us, 1]).T, height=HEIGHT, width=WIDTH)


def check_equal(windows: list[Window], representation: Representation, backend: Backend, device: str) -> None:
    ends = getattr(representation, "ends", "half_open")
    drawn = represent(representation, EventBatch.pack(windows, ends).to(device), backend).cpu()
    expected = np.stack([representation(*window) for window in windows])
    assert drawn.numpy().dtype == expected.dtype and drawn.shape == expected.shape
    # As bytes: -0.0 is not 0.0 here.
    assert drawn.numpy().tobytes() == expected.tobytes(), representation


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
@settings(max_examples=4 if INTERPRETED else 40, deadline=None)
@given(drawn=st.lists(window, min_size=1, max_size=4))
def test_equals_the_cpu(backend: Backend, device: str, drawn: list[tuple[list, int, int, int]]) -> None:
    windows = [(make(rows, step), t0 * step, (t0 + length) * step) for rows, step, t0, length in drawn]
    for representation in REPRESENTATIONS:
        check_equal(windows, representation, backend, device)


def many(seed: int, num_events: int, duration: int, height: int = 20, width: int = 60) -> Events:
    """Events crowded towards one corner, so that many pixels hold hundreds."""
    random = np.random.default_rng(seed)
    x = random.integers(0, width, num_events) * random.integers(0, 2, num_events)
    y = random.integers(0, height, num_events) * random.integers(0, 2, num_events)
    t = np.sort(random.integers(0, duration, num_events))
    return Events.from_arrays(x, y, t, random.random(num_events) < 0.7, height=height, width=width)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_crowded_windows_of_different_lengths(backend: Backend, device: str) -> None:
    windows: list[Window] = [
        (many(0, 2500, 50_000), 0, 50_000),
        (many(1, 700, 3_000_000), 1000, 2_999_000),
        (many(2, 0, 1), 0, 10),
        (many(3, 2049, 40), -5, 60),
    ]
    for representation in REPRESENTATIONS:
        check_equal(windows, representation, backend, device)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_the_longest_window(backend: Backend, device: str) -> None:
    longest = 1 << 31
    times = [0, 1, longest // 3, longest // 2, longest - 2, longest - 1]
    events = Events.from_arrays([0, 1, 0, 2, 2, 3], [0, 1, 0, 2, 2, 0], times, [1, 0, 0, 1, 1, 0], height=3, width=4)
    for representation in [*REPRESENTATIONS, VoxelGrid(100, exact=True), Histogram(500, reference="window")]:
        check_equal([(events, 0, longest)], representation, backend, device)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_sums_too_wide_for_one_word(backend: Backend, device: str) -> None:
    # 2^15 events over 2^31 us need 65 bits beside each other: counts and ages are then summed apart.
    num_events, longest = 1 << 15, 1 << 31
    t = np.sort(np.random.default_rng(5).integers(0, longest, num_events))
    events = Events.from_arrays(t % 2, t // 2 % 2, t, t // 4 % 3 > 0, height=2, width=2)
    check_equal([(events, 0, longest)], VoxelGrid(3, exact=True), backend, device)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_windows_that_count_their_end(backend: Backend, device: str) -> None:
    events = make([(0, 0, 10, 1), (1, 0, 20, 0), (1, 0, 30, 0), (2, 1, 30, 1), (3, 1, 31, 1)])
    for reference in ("events", "window"):
        histogram = Histogram(4, reference=reference, ends="inclusive")
        check_equal([(events, 10, 30), (events, 30, 30), (events, 15, 31)], histogram, backend, device)
    with pytest.raises(ValueError, match=r"counts the events of inclusive windows, .* packed with ends='half_open'"):
        represent(Histogram(ends="inclusive"), EventBatch.pack([(events, 0, 9)]).to(device), backend)
    with pytest.raises(ValueError, match="Tencode counts the events of half_open windows"):
        represent(Tencode(), EventBatch.pack([(events, 0, 9)], "inclusive").to(device), backend)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_a_batch_larger_than_the_scratch(backend: Backend, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[Window] = [(many(seed, 300, 1000), 0, 1000) for seed in range(5)]
    monkeypatch.setattr(dispatch, "SCRATCH_BYTES", 2 * (8 * 5 * 20 * 60 + 64 * 300))
    for representation in (Tencode(), VoxelGrid(exact=True)):
        check_equal(windows, representation, backend, device)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_normalised_voxels_agree_to_the_last_bits(backend: Backend, device: str) -> None:
    windows: list[Window] = [(many(7, 4000, 5000), 0, 5000), (many(8, 1, 10), 0, 10), (many(9, 0, 10), 0, 10)]
    windows.append((Events.from_arrays([3, 4], [5, 6], [0, 0], [1, 1], height=20, width=60), 0, 9))
    voxels = VoxelGrid(5, normalize=True, exact=True)
    batch = EventBatch.pack(windows).to(device)
    drawn = represent(voxels, batch, backend)
    expected = np.stack([voxels(*window) for window in windows])
    np.testing.assert_allclose(drawn.cpu().numpy(), expected, rtol=3e-7, atol=1e-12)
    assert torch.equal(drawn, represent(voxels, batch, backend))


def test_what_is_not_served_is_named() -> None:
    batch = EventBatch.pack([(make([]), 0, 5)])

    class Tencoder(Tencode):
        pass

    with pytest.raises(KeyError, match="unknown representation on the GPU 'Tencoder'; did you mean 'Tencode'"):
        represent(Tencoder(), batch)
    with pytest.raises(ValueError, match=r"use VoxelGrid\(exact=True\) on both sides"):
        represent(VoxelGrid(), batch)
    with pytest.raises(ValueError, match="unknown backend 'tritn'; did you mean 'triton'"):
        represent(Tencode(), batch, "tritn")  # type: ignore[arg-type]


@pytest.mark.skipif(INTERPRETED or not HAS_TRITON, reason="needs Triton, compiled")
def test_triton_refuses_the_cpu() -> None:
    with pytest.raises(ValueError, match="needs a batch on CUDA, this one lies on cpu; allowed: torch"):
        represent(Tencode(), EventBatch.pack([(make([]), 0, 5)]), "triton")


@pytest.mark.skipif(INTERPRETED or not HAS_TRITON, reason="needs Triton, and runs it")
def test_all_this_in_tritons_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


WITHOUT_TRITON = """
import sys

sys.modules["triton"] = None
from eventsam.events import Events
from eventsam.representations.gpu import EventBatch, represent, triton_kernels
from eventsam.representations.tencode import Tencode

batch = EventBatch.pack([(Events.from_arrays([1], [0], [5], [1], height=2, width=2), 0, 10)])
assert represent(Tencode(), batch)[0, :, 0, 1].tolist() == [255, 128, 0]
try:
    represent(Tencode(), batch, "triton")
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(INTERPRETED, reason="runs it")
def test_works_where_triton_is_absent() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT_TRITON], capture_output=True, text=True)
    assert run.stdout == "backend 'triton' needs Triton, which is not installed; allowed here: torch\n", run.stderr
