"""Surfaces of grids and mesh files, and points drawn from them."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from eventsam.metrics.surface import Triangles, grid_mesh, read_triangles, sample_grid, sample_surface


def ball(resolution: int, radius: float = 0.35) -> np.ndarray:
    axis = (np.arange(resolution) + 0.5) / resolution - 0.5
    return sum(a**2 for a in np.meshgrid(axis, axis, axis, indexing="ij")) < radius**2


@given(st.integers(0, 2**16), st.floats(0.02, 0.98))
def test_grid_meshes_are_closed_and_look_outward(seed: int, share: float) -> None:
    grid = np.random.default_rng(seed).random((5, 5, 5)) < share
    vertices, faces = grid_mesh(grid)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there, counts = np.unique(edges, axis=0, return_counts=True)
    back, back_counts = np.unique(edges[:, ::-1], axis=0, return_counts=True)
    assert np.array_equal(there, back) and np.array_equal(counts, back_counts)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    volume = float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
    assert (volume > 0) == grid.any()
    assert np.abs(vertices).max(initial=0) <= 0.5


def test_flat_faces_stay_in_place_and_a_ball_has_its_area_and_volume() -> None:
    box = np.zeros((16, 16, 16), dtype=bool)
    box[4:12, 2:14, 6:10] = True
    vertices, _ = grid_mesh(box)
    np.testing.assert_allclose(vertices.min(axis=0), np.array([4, 2, 6]) / 16 - 0.5)
    np.testing.assert_allclose(vertices.max(axis=0), np.array([12, 14, 10]) / 16 - 0.5)
    mesh = trimesh.Trimesh(*grid_mesh(ball(64)), process=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.35**3, rel=0.01)
    assert mesh.area == pytest.approx(4 * np.pi * 0.35**2, rel=0.06)


def test_points_lie_on_the_surface_with_its_normals_and_repeat() -> None:
    surface = sample_grid(ball(64), 5000, seed=3)
    radii = np.linalg.norm(surface.points, axis=1)
    assert np.abs(radii - 0.35).max() < 1.0 / 64
    assert np.einsum("ij,ij->i", surface.normals, surface.points / radii[:, None]).mean() > 0.95
    again, other = sample_grid(ball(64), 5000, seed=3), sample_grid(ball(64), 5000, seed=4)
    assert np.array_equal(surface.points, again.points) and not np.array_equal(surface.points, other.points)
    assert np.abs(surface.points.mean(axis=0)).max() < 0.01


def test_points_are_spread_by_area() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 1], [0, 1, 1]], dtype=float)
    points = sample_surface(Triangles(vertices, np.array([[0, 1, 2], [3, 4, 5]])), 4000).points
    assert (points[:, 2] == 1).mean() == pytest.approx(0.75, abs=0.01)
    flat = points[points[:, 2] == 0]
    assert np.all(flat[:, 0] + flat[:, 1] <= 1 + 1e-12)
    np.testing.assert_allclose(flat.mean(axis=0), [1 / 3, 1 / 3, 0], atol=0.02)


def test_a_scene_of_several_parts_is_one_mesh(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box())
    moved = np.eye(4)
    moved[0, 3] = 5
    scene.add_geometry(trimesh.creation.icosphere(), transform=moved)
    scene.export(tmp_path / "two.glb")
    mesh = read_triangles(tmp_path / "two.glb")
    assert len(mesh.faces) == 12 + 1280
    points = sample_surface(mesh, 2000).points
    assert points[:, 0].max() > 5.5 and points[:, 0].min() < -0.4


def test_empty_and_damaged_surfaces(tmp_path: Path) -> None:
    assert sample_grid(np.zeros((4, 4, 4), dtype=bool), 10).points.shape == (0, 3)
    with pytest.raises(ValueError, match="expected finite vertices"):
        sample_surface(Triangles(np.full((3, 3), np.nan), np.array([[0, 1, 2]])), 5)
    with pytest.raises(ValueError, match="expected a bool grid"):
        grid_mesh(np.zeros((2, 2, 3), dtype=bool))
    (tmp_path / "bad.ply").write_text("no mesh")
    with pytest.raises(ValueError, match=r"bad\.ply: not a readable mesh"):
        read_triangles(tmp_path / "bad.ply")
