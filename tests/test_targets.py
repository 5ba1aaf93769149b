"""Stored targets: exact round trip, single rows in any order, and clear refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventsam.targets import RECORD, open_targets, part_path, seal, write_part

SHAPES = {"target_shape": (8, 4), "target_pose": (13,), "target_occupancy": (3, 3, 3)}


def made(count: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    latents = {name: rng.standard_normal((count, *SHAPES[name])).astype(np.float32) for name in list(SHAPES)[:2]}
    return latents | {"target_occupancy": rng.random((count, 3, 3, 3)) > 0.5}


def written(folder: Path, counts: list[int]) -> dict[str, dict[str, np.ndarray]]:
    """Write parts of these sizes and return what each id must give."""
    folder.mkdir(exist_ok=True)
    expected = {}
    for part, count in enumerate(counts):
        arrays, ids = made(count, part), [f"{part}/{row}" for row in range(count)]
        write_part(part_path(folder, part), ids, range(count), arrays)
        expected |= {name: {key: array[row] for key, array in arrays.items()} for row, name in enumerate(ids)}
    seal(folder, {"catalog": "abc", "num_parts": len(counts)})
    return expected


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(1, 11), min_size=1, max_size=3), order=st.randoms(use_true_random=False))
def test_every_row_comes_back_in_any_order(counts: list[int], order, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("targets")
    expected = written(folder, counts)
    targets, ids = open_targets(folder, "abc"), list(expected)
    order.shuffle(ids)
    for name in ids:
        found = targets.read(name)
        assert set(found) == set(SHAPES)
        for key, array in found.items():
            assert array.dtype == expected[name][key].dtype
            np.testing.assert_array_equal(array, expected[name][key])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_targets(tmp_path / "nowhere", "abc")
    written(tmp_path / "targets", [2])
    with pytest.raises(ValueError, match=r"made from catalog abc, the data is xyz"):
        open_targets(tmp_path / "targets", "xyz")
    with pytest.raises(KeyError, match="other splits"):
        open_targets(tmp_path / "targets", "abc").read("9/9")
    record = json.loads((tmp_path / "targets" / RECORD).read_text())
    (tmp_path / "targets" / RECORD).write_text(json.dumps(record | {"version": 7}))
    with pytest.raises(ValueError, match="version 7"):
        open_targets(tmp_path / "targets", "abc")
    (tmp_path / "targets" / RECORD).unlink()
    with pytest.raises(FileNotFoundError, match="not finished"):
        open_targets(tmp_path / "targets", "abc")
