"""Rendered frames: handedness, depth, silhouette, light, refinement, and objects that do not fit the frame."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eventsam.simulate.appearance import Pattern, solid_patterns
from eventsam.simulate.background import Panorama, list_pictures, noise_panorama, photo_panorama
from eventsam.simulate.meshes import TexturedMesh
from eventsam.simulate.procedural import procedural_mesh
from eventsam.simulate.render import Lighting, RaycastRenderer
from eventsam.simulate.solids import Solid, box, ellipsoid
from eventsam.simulate.trajectory import Trajectory, TrajectoryRanges

PATH = Trajectory(2.0, 20.0, -90.0, 2.0, 6, 30.0)
LIGHT = Lighting((0.0, 0.0, 1.0), 0.5)
BLACK = Panorama(np.zeros((1, 1, 3), np.float32))


def _plain(solid: Solid, colour: tuple[float, float, float] = (1, 1, 1)) -> TexturedMesh:
    pattern = Pattern("plain", 1, (0, 0, 1), 0, 1, colour, colour)
    return TexturedMesh(
        solid.vertices.astype(np.float32), solid.faces, solid_patterns([pattern], np.zeros(len(solid.faces)))
    )


BALL = _plain(ellipsoid([0.4] * 3, 63))


def test_point_at_plus_x_of_the_camera_is_left_and_plus_y_is_up() -> None:
    # From -y, the camera's x (left) is -x of the object: a box at object -x, +z appears left and above.
    small = _plain(box([0.1, 0.1, 0.1]).moved([-0.3, 0, 0.3]))
    level = dataclasses.replace(PATH, elevation_deg=0.0, num_frames=1)
    rendering = RaycastRenderer(48, 64).render(small, level, LIGHT, BLACK)
    _, _, rows, columns = np.nonzero(rendering.mask)
    assert columns.max() < 32 and rows.max() < 24
    points = rendering.pointmap[0][:, rendering.mask[0, 0] == 1]
    assert (points[0] > 0).all() and (points[1] > 0).all() and (points[2] > 0).all()


def test_pointmap_lies_on_the_surface_and_projects_to_its_own_pixels() -> None:
    rendering = RaycastRenderer().render(BALL, PATH, LIGHT, BLACK)
    assert rendering.pointmap.dtype == np.float32 and rendering.mask.dtype == np.uint8
    for frame, pose in enumerate(PATH.poses().astype(np.float64)):
        seen = rendering.mask[frame, 0] == 1
        points = rendering.pointmap[frame][:, seen].T.astype(np.float64)
        in_object = (points - pose[:3, 3]) @ pose[:3, :3]
        np.testing.assert_allclose(np.linalg.norm(in_object, axis=1), 0.4, atol=3e-3)
        rows, columns = np.nonzero(seen)
        np.testing.assert_allclose(32 - rendering.focal * points[:, 0] / points[:, 2], columns + 0.5, atol=1e-3)
        np.testing.assert_allclose(32 - rendering.focal * points[:, 1] / points[:, 2], rows + 0.5, atol=1e-3)
        assert np.isnan(rendering.pointmap[frame][:, ~seen]).all()


def test_silhouette_of_a_ball_has_its_analytic_area() -> None:
    rendering = RaycastRenderer(128, 128).render(BALL, PATH, LIGHT, BLACK)
    radius = rendering.focal * np.tan(np.arcsin(0.4 / 2.0))
    np.testing.assert_allclose(rendering.mask.sum(axis=(1, 2, 3)), np.pi * radius**2, rtol=0.01)


def test_light_falls_from_its_direction() -> None:
    rendering = RaycastRenderer().render(BALL, dataclasses.replace(PATH, elevation_deg=0.0), LIGHT, BLACK)
    image = rendering.image[0, :, 32, 0]
    inside = image[rendering.mask[0, 0, :, 32] == 1]
    assert inside[1] > 220 and abs(inside[-2] - 127.5) < 3


def test_refinement_gives_edges_their_share_and_leaves_the_rest() -> None:
    coarse = RaycastRenderer(refine_contrast=float("inf")).render(BALL, PATH, Lighting((0, 0, 1), 1.0), BLACK)
    fine = RaycastRenderer().render(BALL, PATH, Lighting((0, 0, 1), 1.0), BLACK)
    assert set(np.unique(coarse.image)) == {0.0, 255.0}
    between = (fine.image > 0) & (fine.image < 255)
    assert 0.01 < between.mean() < 0.2
    np.testing.assert_array_equal(coarse.depth, fine.depth)
    radius = fine.focal * np.tan(np.arcsin(0.2))
    np.testing.assert_allclose(fine.image[..., 0].sum(axis=(1, 2)) / 255, np.pi * radius**2, rtol=0.01)


def test_rendering_repeats_and_luminance_is_luma() -> None:
    generator = np.random.default_rng(2)
    mesh = procedural_mesh(generator)
    path = TrajectoryRanges().draw(generator, mesh.vertices, 5)
    panorama = noise_panorama(generator)
    first, again = (RaycastRenderer().render(mesh, path, LIGHT, panorama) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.rgb.shape == (5, 3, 64, 64) and first.rgb.dtype == np.uint8
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(first.luminance(), first.image @ weights, rtol=1e-4)
    assert first.image.min() >= 0 and first.luminance().max() <= 255


def test_object_outside_the_frame_is_refused_with_its_frame() -> None:
    with pytest.raises(ValueError, match="frame 0: the object leaves the 64x64 image"):
        RaycastRenderer().render(BALL, dataclasses.replace(PATH, fov_deg=15.0), LIGHT, BLACK)
    # Only the shaking camera loses it, later on the path.
    shaken = dataclasses.replace(PATH, num_frames=30, fov_deg=28.0, shake_deg=4.0, shake_phase_deg=-33.7)
    with pytest.raises(ValueError, match=r"frame [1-9]\d*: the object leaves"):
        RaycastRenderer().render(BALL, shaken, LIGHT, BLACK)


def test_object_too_thin_for_any_ray_is_refused() -> None:
    needle = _plain(box([1e-5, 1e-5, 0.5]))
    with pytest.raises(ValueError, match="frame 0: empty mask"):
        RaycastRenderer().render(needle, dataclasses.replace(PATH, azimuth_deg=-91.0), LIGHT, BLACK)


def test_panorama_pans_with_the_camera() -> None:
    strip = np.zeros((1, 360, 3), np.float32)
    strip[0, 90] = 1.0  # a bright line towards +y
    panorama = Panorama(np.repeat(strip, 4, axis=0))
    path = dataclasses.replace(PATH, elevation_deg=0.0, num_frames=5, speed_deg_per_frame=1.0)
    rendering = RaycastRenderer().render(_plain(box([0.1] * 3), (0, 0, 0)), path, LIGHT, panorama)
    columns = rendering.image[:, 2, :, 0].argmax(axis=1)
    # The camera moves anticlockwise and so turns to the left: what stands far behind moves to the right.
    assert abs(columns[0] - 32) <= 1 and (np.diff(columns) > 0).all()


def test_photo_panorama_has_no_seam_and_bad_pictures_are_named(tmp_path: Path) -> None:
    gradient = np.tile(np.linspace(0, 255, 60, dtype=np.uint8)[None, :, None], (30, 1, 3))
    Image.fromarray(gradient).save(tmp_path / "wall.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert list_pictures(tmp_path) == [tmp_path / "wall.png"]
    image = photo_panorama(tmp_path / "wall.png", np.random.default_rng(0)).image
    assert np.abs(np.diff(np.concatenate([image, image[:, :1]], axis=1), axis=1)).max() < 0.05
    (tmp_path / "wall.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="wall"):
        photo_panorama(tmp_path / "wall.png", np.random.default_rng(0))
    (tmp_path / "wall.png").unlink()
    with pytest.raises(ValueError, match="no background picture"):
        list_pictures(tmp_path)
