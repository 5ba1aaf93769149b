"""Mesh files: reading, closing, orienting, colouring and placing them, and saying what is wrong with bad ones."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from eventsam.simulate.appearance import CornerColours, Pattern, SolidPatterns, TextureImage, solid_patterns
from eventsam.simulate.mesh_repair import open_edges, repair, signed_volume
from eventsam.simulate.meshes import TexturedMesh, load_mesh, normalise
from eventsam.simulate.occupancy import occupancy_of
from eventsam.simulate.solids import box, ellipsoid

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
MESHES = SHARED / "data" / "meshes"


def _export(path: Path, vertices: np.ndarray, faces: np.ndarray) -> Path:
    trimesh.Trimesh(vertices, faces, process=False).export(path)
    return path


def test_repair_closes_a_hole_and_copies_corners_of_its_rim() -> None:
    ball = ellipsoid([1, 1, 1])
    repaired = repair(ball.vertices, ball.faces[5:])
    assert repaired.closed and 0 < repaired.filled_share < 0.05
    assert len(open_edges(repaired.faces, len(repaired.vertices))) == 0
    assert repaired.origin_face.max() < len(ball.faces) - 5
    assert signed_volume(repaired.vertices, repaired.faces) == pytest.approx(4.1, abs=0.1)


def test_repair_turns_faces_the_same_way_and_outwards() -> None:
    solid = box([1, 1, 1])
    faces = solid.faces[:, ::-1].copy()
    faces[3] = faces[3, ::-1]
    repaired = repair(solid.vertices, faces)
    assert repaired.closed and signed_volume(repaired.vertices, repaired.faces) == pytest.approx(1)


def test_repair_drops_double_and_degenerate_faces_and_merges_vertices() -> None:
    solid = box([1, 1, 1])
    loose = solid.vertices[solid.faces.ravel()]
    faces = np.arange(36).reshape(-1, 3)
    faces = np.concatenate([faces, faces[:1], [[0, 0, 1]]])
    repaired = repair(loose, faces)
    assert len(repaired.vertices) == 8 and len(repaired.faces) == 12 and repaired.closed


def test_sheet_is_refused_by_name_and_accepted_on_request(tmp_path: Path) -> None:
    path = _export(
        tmp_path / "sheet.off", np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0.2], [0, 1, 0.0]]), [[0, 1, 2], [0, 2, 3]]
    )
    with pytest.raises(ValueError, match=r"sheet\.off.*not watertight"):
        load_mesh(path)
    mesh = load_mesh(path, allow_open=True)
    assert not mesh.closed and occupancy_of(mesh, 32).any()


@pytest.mark.parametrize("content", [b"", b"not a mesh at all \x00\xff", b"OFF\n3 1 0\n0 0 0\n1 0 0\n"])
def test_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.off"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.off"):
        load_mesh(path)


def test_missing_file_and_mesh_with_infinite_vertices_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        load_mesh(tmp_path / "nowhere.obj")
    path = tmp_path / "infinite.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv inf 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 2 3 4\nf 1 3 4\n")
    with pytest.raises(ValueError, match="infinite"):
        load_mesh(path)


def test_normalise_turns_y_up_and_fits_every_yaw() -> None:
    vertices = np.random.default_rng(0).normal(size=(200, 3)) * [3, 1, 2] + 7
    points = normalise(vertices, "y")
    assert np.hypot(points[:, 0], points[:, 1]).max() <= 0.4801
    np.testing.assert_allclose(points.min(0), -points.max(0), atol=1e-6)
    order = np.argsort(vertices[:, 1])
    assert (np.diff(points[order, 2]) >= 0).all()
    with pytest.raises(ValueError, match="up axis"):
        normalise(vertices, "x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="extent"):
        normalise(np.zeros((3, 3)))


def test_picture_beside_a_mesh_with_coordinates_is_used(tmp_path: Path) -> None:
    lines = [f"v {x} {y} {z}" for x, y, z in ([0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1])]
    lines += ["vt 0 0", "vt 1 0", "vt 0 1", "f 1/1 3/3 2/2", "f 1/1 2/2 4/3", "f 2/1 3/2 4/3", "f 1/1 4/2 3/3"]
    path = tmp_path / "tetra.obj"
    path.write_text("\n".join(lines))
    assert isinstance(load_mesh(path).appearance, SolidPatterns)
    Image.new("RGB", (8, 8), (10, 200, 30)).save(tmp_path / "skin.png")
    appearance = load_mesh(path).appearance
    assert isinstance(appearance, TextureImage) and appearance.corners.shape == (4, 3, 2)
    (tmp_path / "skin.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(ValueError, match="skin"):
        load_mesh(path)


def test_vertex_colours_survive(tmp_path: Path) -> None:
    solid = box([1, 1, 1])
    colours = np.tile([200, 0, 0, 255], (8, 1)).astype(np.uint8)
    trimesh.Trimesh(solid.vertices, solid.faces, vertex_colors=colours, process=False).export(tmp_path / "red.ply")
    appearance = load_mesh(tmp_path / "red.ply").appearance
    assert isinstance(appearance, CornerColours)
    np.testing.assert_allclose(appearance.corners[..., 0], 200 / 255, atol=1e-6)


def test_untextured_mesh_gets_a_seeded_pattern(tmp_path: Path) -> None:
    path = _export(tmp_path / "box.off", box([1, 1, 1]).vertices, box([1, 1, 1]).faces)
    first, again, other = (load_mesh(path, seed=seed).appearance for seed in (1, 1, 2))
    assert all(isinstance(appearance, SolidPatterns) for appearance in (first, again, other))
    np.testing.assert_array_equal(first.table, again.table)
    assert not np.array_equal(first.table, other.table)


def test_corner_normals_are_smooth_on_balls_and_sharp_on_boxes() -> None:
    grey = Pattern("plain", 1, (0, 0, 1), 0, 1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    for solid, smooth in ((ellipsoid([0.4] * 3, 31), True), (box([0.5, 0.5, 0.5]), False)):
        appearance = solid_patterns([grey], np.zeros(len(solid.faces)))
        mesh = TexturedMesh(solid.vertices.astype(np.float32), solid.faces, appearance)
        normals = mesh.corner_normals()
        np.testing.assert_allclose(np.linalg.norm(normals, axis=2), 1, atol=1e-5)
        outward = solid.vertices[solid.faces]
        outward = outward / np.linalg.norm(outward, axis=2, keepdims=True)
        agreement = (normals * outward).sum(axis=2)
        assert agreement.min() > 0.98 if smooth else np.allclose(np.abs(normals).max(axis=2), 1)


@pytest.mark.skipif(not MESHES.exists(), reason="needs the shared test meshes")
@pytest.mark.parametrize(
    "path", sorted(MESHES.rglob("*.o[bf][jf]")), ids=lambda path: path.parent.name + "-" + path.stem
)
def test_every_shared_mesh_loads_closed(path: Path) -> None:
    mesh = load_mesh(path, "z" if "ycb" in path.parts else "y")
    assert mesh.closed
    inside = occupancy_of(mesh, 48).mean()
    assert inside == pytest.approx(
        signed_volume(mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)), rel=0.12
    )
    textured = path.parent.name in ("spot", "YcbBanana")
    assert isinstance(mesh.appearance, TextureImage) == textured
