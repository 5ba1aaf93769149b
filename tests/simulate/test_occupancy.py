"""Occupancy against analytic volumes, packing, and turning about z."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsam.simulate.appearance import Pattern, solid_patterns
from eventsam.simulate.meshes import TexturedMesh
from eventsam.simulate.occupancy import occupancy_of, pack_occupancy, rotate_about_z, unpack_occupancy
from eventsam.simulate.solids import Solid, box, ellipsoid

GREY = Pattern("plain", 1, (0, 0, 1), 0, 1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _mesh(*solids: Solid, closed: bool = True) -> TexturedMesh:
    offsets = np.cumsum([0, *(len(solid.vertices) for solid in solids)])
    faces = np.concatenate([solid.faces + offset for solid, offset in zip(solids, offsets[:-1], strict=True)])
    vertices = np.concatenate([solid.vertices for solid in solids]).astype(np.float32)
    return TexturedMesh(vertices, faces.astype(np.int32), solid_patterns([GREY], np.zeros(len(faces))), closed)


def _centres(resolution: int) -> np.ndarray:
    axis = (np.arange(resolution) + 0.5) / resolution - 0.5
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


@pytest.mark.parametrize("offset", [(0, 0, 0), (0.1, -0.05, 0.07)])
def test_box_is_exact(offset: tuple[float, float, float]) -> None:
    size = np.array([0.31, 0.52, 0.43])
    grid = occupancy_of(_mesh(box(size).moved(offset)), 64)
    expected = (np.abs(_centres(64) - offset) < size / 2).all(axis=-1)
    np.testing.assert_array_equal(grid, expected)


def test_faces_that_pass_through_voxel_centres_leak_nothing() -> None:
    # Sides at (i + 0.5) / 64 - 0.5: every rim column runs along an edge or through a vertex of the mesh.
    grid = occupancy_of(_mesh(box(np.full(3, 21 / 64))), 64)
    assert grid.any(axis=2).sum() in range(20**2, 22**2 + 1)
    assert grid.sum(axis=2).max() <= 22


def test_ball_matches_its_volume_and_shape() -> None:
    grid = occupancy_of(_mesh(ellipsoid([0.4] * 3, 63)), 64)
    distance = np.linalg.norm(_centres(64), axis=-1)
    assert not grid[distance > 0.4].any()
    assert grid[distance < 0.395].all()


def test_overlapping_parts_give_their_union() -> None:
    parts = [box([0.4, 0.4, 0.4]), box([0.4, 0.4, 0.4]).moved([0.15, 0.1, 0.05])]
    whole = occupancy_of(_mesh(*parts), 64)
    np.testing.assert_array_equal(whole, occupancy_of(_mesh(parts[0]), 64) | occupancy_of(_mesh(parts[1]), 64))


def test_faces_that_look_inwards_do_not_matter() -> None:
    solid = box([0.3, 0.4, 0.5])
    inverted = Solid(solid.vertices, np.ascontiguousarray(solid.faces[:, ::-1]))
    np.testing.assert_array_equal(occupancy_of(_mesh(solid), 32), occupancy_of(_mesh(inverted), 32))


def test_open_mesh_is_filled_from_outside() -> None:
    filled = occupancy_of(_mesh(ellipsoid([0.4] * 3), closed=False), 48)
    exact = occupancy_of(_mesh(ellipsoid([0.4] * 3)), 48)
    assert filled[exact].all()
    assert filled.mean() < 1.35 * exact.mean()


def test_object_thinner_than_every_voxel_is_refused() -> None:
    with pytest.raises(ValueError, match="fills no voxel"):
        occupancy_of(_mesh(box([0.001, 0.001, 0.001])), 8)


@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_packing_is_undone(resolution: int, seed: int) -> None:
    grid = np.random.default_rng(seed).uniform(size=(resolution,) * 3) < 0.5
    np.testing.assert_array_equal(unpack_occupancy(pack_occupancy(grid), resolution), grid)


def test_packed_bits_of_another_resolution_are_refused() -> None:
    with pytest.raises(ValueError, match="4096 bytes"):
        unpack_occupancy(np.zeros(5, np.uint8), 32)


@pytest.mark.parametrize("quarter", range(4))
def test_quarter_turns_are_exact(quarter: int) -> None:
    grid = np.random.default_rng(0).uniform(size=(16, 16, 16)) < 0.5
    np.testing.assert_array_equal(rotate_about_z(grid, quarter * np.pi / 2), np.rot90(grid, quarter, axes=(0, 1)))


def test_turned_box_matches_the_turned_mesh_at_half_resolution() -> None:
    solid = box([0.7, 0.25, 0.5]).moved([0.05, 0.02, 0.1])
    turned = rotate_about_z(occupancy_of(_mesh(solid), 64), np.deg2rad(33), 32)
    expected = occupancy_of(_mesh(solid.rotated(2, 33)), 32)
    assert (turned & expected).sum() / (turned | expected).sum() > 0.93


def test_resolutions_that_do_not_divide() -> None:
    grid = occupancy_of(_mesh(ellipsoid([0.4] * 3, 31)), 64)
    assert rotate_about_z(grid, 0.0, 24).mean() == pytest.approx(grid.mean(), rel=0.05)


def test_grid_that_is_no_cube_is_refused() -> None:
    with pytest.raises(ValueError, match="cube"):
        rotate_about_z(np.zeros((4, 4, 5), np.bool_), 0.0)
