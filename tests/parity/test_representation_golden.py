"""Tencode and VoxelGrid against the arrays of the reference code, computed in one thread."""

from pathlib import Path

import numpy as np
import pytest

from eventsam.events import Events
from eventsam.representations.tencode import Tencode
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
def test_voxel_grid_matches_the_reference(
    golden: dict[str, np.ndarray], precision: str, num_bins: int, normalize: bool
) -> None:
    events, t0, t1 = load(golden)
    grid = VoxelGrid(num_bins, normalize, "events")(events, t0, t1)
    expected = golden[f"seed_voxel_{precision}_C{num_bins}_norm{int(normalize)}"]
    np.testing.assert_allclose(grid, expected, rtol=1e-5, atol=5e-6)
