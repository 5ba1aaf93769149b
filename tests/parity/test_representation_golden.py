"""Every representation against the stored arrays of the published codes."""

from pathlib import Path

import numpy as np
import pytest

from eventsam.events import Events
from eventsam.representations.histogram import Histogram
from eventsam.representations.mixed_density import MixedDensity
from eventsam.representations.polarity_histogram import PolarityHistogram
from eventsam.representations.tencode import Tencode
from eventsam.representations.time_surface import TimeSurface
from eventsam.representations.voxel_grid import VoxelGrid

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden arrays are not beside this checkout")


@pytest.fixture(params=["small", "hotpixel"])
def golden(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"ev_rep_{request.param}.npz") as arrays:
        return dict(arrays)


def load(golden: dict[str, np.ndarray], polarity: np.ndarray | None = None) -> tuple[Events, int, int]:
    p = golden["p"] if polarity is None else polarity
    size = {"height": int(golden["H"]), "width": int(golden["W"])}
    events = Events.from_arrays(golden["x"], golden["y"], golden["t"], p, **size)
    return events, int(events.t[0]), int(events.t[-1]) + 1


@pytest.mark.parametrize("precision", ["i64us", "f64s"])
@pytest.mark.parametrize(("background", "white"), [("black", 0), ("white", 1)])
def test_tencode_is_the_rounding_of_the_reference(
    golden: dict[str, np.ndarray], precision: str, background: str, white: int
) -> None:
    events, t0, t1 = load(golden)
    image = Tencode("events", background)(events, t0, t1)
    expected = golden[f"seed_tencode_{precision}_norm0_white{white}"].astype(np.float64)
    assert np.abs(image - expected).max() <= 0.5
    assert (image == np.floor(expected + 0.5)).all()


def test_tencode_of_signed_polarity(golden: dict[str, np.ndarray]) -> None:
    events, t0, t1 = load(golden, golden["p"].astype(np.int64) * 2 - 1)
    expected = golden["seed_tencode_pm1_i64us_norm1"].astype(np.float64) * 255
    assert np.abs(Tencode("events")(events, t0, t1) - expected).max() <= 0.5001


@pytest.mark.parametrize("precision", ["i64us", "f64s"])
@pytest.mark.parametrize("num_bins", [3, 5, 10])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_voxel_grid_matches_the_reference(
    golden: dict[str, np.ndarray], precision: str, num_bins: int, normalize: bool, exact: bool
) -> None:
    events, t0, t1 = load(golden)
    grid = VoxelGrid(num_bins, normalize, "events", exact)(events, t0, t1)
    expected = golden[f"seed_voxel_{precision}_C{num_bins}_norm{int(normalize)}"]
    np.testing.assert_allclose(grid, expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("normalize", [False, True])
def test_subpixel_voxel_grid_matches_the_reference(normalize: bool) -> None:
    with np.load(GOLDEN / "ev_rep_small.npz") as arrays:
        golden = dict(arrays)
    events, t0, t1 = load(golden)
    grid = VoxelGrid(5, normalize, "events").subpixel(
        golden["fx"], golden["fy"], golden["t"], golden["p"], events.height, events.width, t0, t1
    )
    expected = golden[f"seed_voxel_subpixel_f64s_C5_norm{int(normalize)}"]
    np.testing.assert_allclose(grid, expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("cutoff", [None, 10, 255])
@pytest.mark.parametrize("wrapping", [False, True])
def test_stacked_histogram_is_rvt_s(golden: dict[str, np.ndarray], cutoff: int | None, wrapping: bool) -> None:
    events, t0, t1 = load(golden)
    expected = golden[f"rvt_stackedhist_bins10_cut{cutoff}_fast{int(wrapping)}"]
    np.testing.assert_array_equal(Histogram(10, cutoff, wrapping)(events, t0, t1), expected)


def test_mixed_density_is_rvt_s(golden: dict[str, np.ndarray]) -> None:
    # RVT sums in 8 bits: the hot pixel wraps around.
    events, t0, t1 = load(golden)
    stack = MixedDensity(10, 32, wrapping=True)(events, t0, t1)
    assert stack.dtype == np.int8
    np.testing.assert_array_equal(stack, golden["rvt_mixeddensity_bins10_cut32"])


def test_polarity_histogram_is_the_reference_s(golden: dict[str, np.ndarray]) -> None:
    events, t0, t1 = load(golden)
    np.testing.assert_array_equal(PolarityHistogram(200)(events, t0, t1), golden["seed_hist_int"])


def test_tonic_s_surfaces_are_windows_with_one_start(golden: dict[str, np.ndarray]) -> None:
    # Its memory lasts over slices of dt, each seen from its own end; tau was a third of the span.
    events, t0, t1 = load(golden)
    dt, tau_ms = int(golden["tonic_timesurface_dt"]), (t1 - 1 - t0) / 3 / 1000
    for i, expected in enumerate(golden["tonic_timesurface"]):
        surface = TimeSurface(tau_ms)(events, t0, t0 + (i + 1) * dt)
        np.testing.assert_allclose(surface, expected, rtol=1e-6, atol=1e-7)


def test_tonic_s_frames_are_exact_bins(golden: dict[str, np.ndarray]) -> None:
    # Slices of floor(span / 10) us from the first event on, polarity inside the bins, nothing cut off.
    events, t0, t1 = load(golden)
    length = (t1 - 1 - t0) // 10
    counts = Histogram(10, None, reference="window")(events, t0, t0 + 10 * length)
    expected = golden["tonic_frame_bins10"].clip(max=255)
    np.testing.assert_array_equal(counts.reshape(2, 10, *counts.shape[1:]).swapaxes(0, 1), expected)


def test_tonic_s_voxels_use_another_time_axis(golden: dict[str, np.ndarray]) -> None:
    # K bins over [0, K) where ours lie over [0, K - 1], and what falls past the last bin is lost: with one bin more of
    # ours its grid is the first K, up to the events of the very last instant.
    events, t0, t1 = load(golden)
    expected = golden["tonic_voxel_bins5"][:, 0]
    grid = VoxelGrid(6, reference="events")(events, t0, t1)[:5]
    np.testing.assert_allclose(grid, expected, rtol=1e-5, atol=5e-6)


S5_CASES = ["rand", "empty", "single", "same_t", "hotpixel_fast", "hotpixel_slow", "edges"]


@pytest.mark.parametrize("case", S5_CASES)
def test_stacked_histogram_is_the_detector_s(case: str) -> None:
    with np.load(GOLDEN / "s5_stacked_histogram.npz") as golden:
        columns = [golden[f"{case}_{name}"] for name in "xytp"]
        events = Events.from_arrays(*columns, height=int(golden["height"]), width=int(golden["width"]))
        histogram = Histogram(int(golden["bins"]), int(golden["count_cutoff"]), wrapping=case == "hotpixel_fast")
        counts = histogram(events, -(2**40), 2**40)
        np.testing.assert_array_equal(counts, golden[f"{case}_out"])
        if case == "rand":
            # Half size by nearest-exact resampling: the odd rows and columns, no sum.
            np.testing.assert_array_equal(counts[:, 1::2, 1::2], golden["rand_ds2_nearest_exact"])
