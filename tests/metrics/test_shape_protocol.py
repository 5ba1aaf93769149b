"""All shape metrics together: solids, alignments, normals, empties, merging."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from eventsam.metrics.alignment import Similarity, alignment, fit_similarity
from eventsam.metrics.shape import ShapeProtocol, surface_scores
from eventsam.metrics.solid import at_resolution, filled, moved, solid_iou
from eventsam.metrics.surface import Surface, sample_grid, transformed


def cells(resolution: int) -> tuple[np.ndarray, ...]:
    axis = (np.arange(resolution) + 0.5) / resolution - 0.5
    return tuple(np.meshgrid(axis, axis, axis, indexing="ij"))


def brick(resolution: int, size: tuple[float, ...] = (0.3, 0.2, 0.1), shift: float = 0.0) -> np.ndarray:
    x, y, z = cells(resolution)
    # A notch breaks the brick's symmetry.
    solid = (abs(x - shift) < size[0]) & (abs(y) < size[1]) & (abs(z) < size[2])
    return solid & ~((x - shift > 0.1) & (y > 0.05))


def test_equal_shapes_score_perfectly_under_every_alignment() -> None:
    protocol = ShapeProtocol(("none", "centroid_scale", "icp"), num_points=3000)
    scores = protocol.scores(brick(32), brick(32))
    assert set(scores) == set(protocol.names)
    for name, value in scores.items():
        good = 1.0 if name.startswith(("viou", "f_score")) else 0.0
        assert value == pytest.approx(good, abs=1e-12 if name.endswith("none") else 0.02), name


def test_alignment_forgives_what_its_name_says() -> None:
    x, y, z = cells(48)
    a = 0.35
    turned_grid = (
        (abs(np.cos(a) * x - np.sin(a) * y) < 0.2) & (abs(np.sin(a) * x + np.cos(a) * y) < 0.13) & (abs(z) < 0.08)
    )
    truth = (abs(x) < 0.3) & (abs(y) < 0.195) & (abs(z) < 0.12)
    protocol = ShapeProtocol(("none", "centroid_scale", "icp"), num_points=4000)
    shifted = protocol.scores(np.roll((abs(x) < 0.2) & (abs(y) < 0.13) & (abs(z) < 0.08), 8, axis=0), truth)
    assert shifted["chamfer/none"] > 0.07 > 0.012 > shifted["chamfer/centroid_scale"]
    assert shifted["viou_solid/none"] < 0.3 < 0.9 < shifted["viou_solid/centroid_scale"]
    turned = protocol.scores(turned_grid, truth)
    assert turned["chamfer/icp"] < 0.012 < turned["chamfer/centroid_scale"] < turned["chamfer/none"]
    assert turned["viou_solid/icp"] > 0.88 > turned["viou_solid/centroid_scale"]


def test_similarity_of_known_pairs_is_found_and_never_a_mirror_image() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3))
    linear, offset = 1.7 * Rotation.from_euler("xyz", [0.4, -1.0, 2.0]).as_matrix(), np.array([1.0, -2.0, 0.5])
    found = fit_similarity(points, points @ linear + offset)
    np.testing.assert_allclose(found.linear, linear, atol=1e-12)
    np.testing.assert_allclose(found.offset, offset, atol=1e-12)
    assert np.linalg.det(fit_similarity(points, points * [-1, 1, 1]).linear) > 0
    back = found.then(found.inverse())
    np.testing.assert_allclose(back.linear, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(back.offset, 0, atol=1e-12)


def test_a_cavity_is_filled_and_a_cup_stays_open() -> None:
    x, y, z = cells(24)
    shell = (x**2 + y**2 + z**2 < 0.4**2) & (x**2 + y**2 + z**2 > 0.3**2)
    assert np.array_equal(filled(shell), x**2 + y**2 + z**2 < 0.4**2)
    cup = shell & (z < 0.1)
    assert np.array_equal(filled(cup), cup)
    assert solid_iou(shell, x**2 + y**2 + z**2 < 0.4**2) == 1.0


def test_grids_of_other_sizes_meet_on_common_cells() -> None:
    assert solid_iou(brick(16), at_resolution(brick(16), 48)) == 1.0
    assert solid_iou(brick(64), brick(32)) > 0.8
    coarse = at_resolution(brick(64), 32)
    assert coarse.shape == (32, 32, 32)


def test_a_solid_moves_as_its_points_do() -> None:
    grid = brick(40, (0.2, 0.13, 0.1))
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    by = Similarity(turn, np.array([0.1, 0.0, -0.05]))
    there = moved(grid, by, 40)
    index = np.argwhere(grid)
    centres = (index + 0.5) / 40 - 0.5
    expected = np.zeros_like(grid)
    expected[tuple(np.floor((centres @ by.linear + by.offset + 0.5) * 40 + 1e-9).astype(int).T)] = True
    assert np.array_equal(there, expected)


def test_empty_shapes_are_stated() -> None:
    protocol = ShapeProtocol(("none", "icp"), num_points=500)
    empty, full = np.zeros((16, 16, 16), dtype=bool), brick(16)
    both = protocol.scores(empty, empty)
    one = protocol.scores(empty, full)
    for policy in ("none", "icp"):
        assert both[f"viou_solid/{policy}"] == both[f"f_score_0.01/{policy}"] == 1.0
        assert both[f"chamfer/{policy}"] == both[f"cd_normal/{policy}"] == 0.0
        assert one[f"viou_solid/{policy}"] == one[f"f_score_0.05/{policy}"] == 0.0
        assert one[f"cd_p/{policy}"] == math.sqrt(3) and one[f"cd_normal/{policy}"] == 1.0
    assert protocol.scores(full, empty) == one


def test_normals_tell_what_distances_do_not() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((500, 3))
    up, aside = np.tile([0.0, 0, 1], (500, 1)), np.tile([1.0, 0, 0], (500, 1))
    alike = surface_scores(Surface(points, up), Surface(points, -up), (0.05,))
    across = surface_scores(Surface(points, up), Surface(points, aside), (0.05,))
    assert alike["chamfer"] == across["chamfer"] == 0.0
    assert alike["cd_normal"] == 0.0 and across["cd_normal"] == 1.0
    turned = transformed(Surface(points, up), 2 * Rotation.from_euler("y", 90, degrees=True).as_matrix(), np.ones(3))
    np.testing.assert_allclose(np.linalg.norm(turned.normals, axis=1), 1)


def test_states_are_merged_per_sample() -> None:
    protocol = ShapeProtocol(num_points=400)
    truth = torch.from_numpy(np.stack([brick(16), brick(16, shift=0.1), brick(16)]))
    predicted = torch.roll(truth, 1, dims=1)
    whole = protocol.states(predicted, truth, torch.arange(3))
    parts = [protocol.states(predicted[i : i + 1], truth[i : i + 1], torch.tensor([i])) for i in (2, 0, 1)]
    assert set(whole) == set(protocol.names) and len(whole) == 8
    for name, state in whole.items():
        merged = parts[0][name].merge(parts[1][name]).merge(parts[2][name])
        assert np.array_equal(merged.to_array(), state.to_array())


def test_odd_protocols_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown alignment 'ipc'.*icp"):
        ShapeProtocol(("ipc",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="thresholds above 0"):
        ShapeProtocol(thresholds=(0.0,))
    with pytest.raises(ValueError, match="expected a bool grid"):
        solid_iou(np.zeros((2, 2, 2)), np.zeros((2, 2, 2), dtype=bool))


def test_alignment_of_an_empty_shape_is_no_alignment() -> None:
    empty, full = (sample_grid(grid, 10) for grid in (np.zeros((4, 4, 4), dtype=bool), brick(16)))
    assert np.array_equal(alignment("icp", empty, full).linear, np.eye(3))
