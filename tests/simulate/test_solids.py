"""Solids are closed, face outwards and have the volume that geometry gives them."""

import numpy as np
import pytest

from eventsam.simulate.mesh_repair import open_edges, signed_volume
from eventsam.simulate.solids import (
    Solid,
    arc_tube,
    box,
    capsule,
    cone,
    cylinder,
    ellipsoid,
    regular_prism,
    revolve,
    torus,
    wedge,
)

SOLIDS = {
    "box": (box([1, 2, 3]), 6.0),
    "wedge": (wedge([1, 2, 3]), 3.0),
    "prism": (regular_prism(6, 1, 2), 3 * np.sqrt(3)),
    "cylinder": (cylinder(1, 2), 2 * np.pi),
    "frustum": (cylinder(1, 3, 0.5), np.pi * (1 + 0.5 + 0.25)),
    "cone": (cone(1, 3), np.pi),
    "ellipsoid": (ellipsoid([1, 2, 3]), 8 * np.pi),
    "capsule": (capsule(1, 2), 2 * np.pi + 4 / 3 * np.pi),
    "torus": (torus(2, 0.5), 2 * np.pi**2 * 2 * 0.25),
    "arc": (arc_tube(2, 0.5, 180), np.pi**2 * 2 * 0.25),
    "vessel": (revolve([[0, 0], [1, 0], [1, 2], [0.8, 2], [0.8, 0.2], [0, 0.2]]), 2 * np.pi - 0.64 * 1.8 * np.pi),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_solid_is_closed_and_has_its_volume(name: str) -> None:
    solid, volume = SOLIDS[name]
    assert len(open_edges(solid.faces.astype(np.int64), len(solid.vertices))) == 0
    # Polygons inscribed into circles lose a few percent.
    assert signed_volume(solid.vertices, solid.faces.astype(np.int64)) == pytest.approx(volume, rel=0.07)


def test_moves_keep_the_volume_and_leave_the_original_alone() -> None:
    original = box([1, 2, 3])
    before = original.vertices.copy()
    moved = original.moved([5, 0, 0]).rotated(0, 30).scaled([1, 1, 2])
    assert signed_volume(moved.vertices, moved.faces.astype(np.int64)) == pytest.approx(12)
    np.testing.assert_array_equal(original.vertices, before)


def test_rotation_is_right_handed() -> None:
    turned = Solid(np.array([[1.0, 0, 0]]), np.zeros((0, 3), np.int32)).rotated(2, 90)
    np.testing.assert_allclose(turned.vertices, [[0, 1, 0]], atol=1e-12)


def test_profile_off_the_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="starts and ends on the axis"):
        revolve([[0.1, 0], [1, 0], [0, 1]])
