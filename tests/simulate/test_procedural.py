"""Procedural objects are closed, fit the cube at every yaw and repeat with their seed."""

import numpy as np
import pytest

from eventsam.simulate.mesh_repair import open_edges
from eventsam.simulate.occupancy import occupancy_of
from eventsam.simulate.palette import random_pattern
from eventsam.simulate.procedural import FAMILIES, draw_family, procedural_mesh


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_closed_and_normalised(family: str) -> None:
    for seed in range(3):
        mesh = procedural_mesh(np.random.default_rng(seed), family)
        assert len(open_edges(mesh.faces.astype(np.int64), len(mesh.vertices))) == 0
        assert np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1]).max() <= 0.4801
        assert np.abs(mesh.vertices[:, 2]).max() <= 0.4801
        assert 0.005 < occupancy_of(mesh, 32).mean() < 0.8


def test_same_seed_same_object_other_seed_other_object() -> None:
    first, again, other = (procedural_mesh(np.random.default_rng(seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.vertices, again.vertices)
    assert first.vertices.shape != other.vertices.shape or not np.allclose(first.vertices, other.vertices)


def test_families_are_all_drawn() -> None:
    generator = np.random.default_rng(0)
    assert {draw_family(generator) for _ in range(600)} == set(FAMILIES)


def test_unknown_family_is_named() -> None:
    with pytest.raises(KeyError, match="teapot"):
        procedural_mesh(np.random.default_rng(0), "teapot")


def test_patterns_have_contrast() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        pattern = random_pattern(generator)
        assert abs(max(pattern.colour_a) - max(pattern.colour_b)) >= 0.25
