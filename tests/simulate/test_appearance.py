"""Surface colours: solid patterns, pictures and corner colours."""

import dataclasses

import numpy as np
import pytest

from eventsam.simulate.appearance import CornerColours, Pattern, TextureImage, solid_patterns

CHECKER = Pattern("checker", 2.0, (0, 0, 1), 1.0, 3.0, (0, 0, 0), (1, 1, 1))
NONE = np.zeros(0, np.float32)


def _points(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (count, 3)).astype(np.float32)


@pytest.mark.parametrize("kind", ["checker", "stripes", "noise", "rings"])
def test_pattern_shows_both_colours(kind: str) -> None:
    pattern = dataclasses.replace(CHECKER, kind=kind, frequency=6.0)
    colours = solid_patterns([pattern], np.zeros(1)).colours(np.zeros(500, np.int32), NONE, NONE, _points(500))
    assert colours.min() >= 0 and colours.max() <= 1
    assert (colours < 0.2).any() and (colours > 0.8).any()


def test_plain_pattern_is_its_first_colour_and_parts_keep_theirs() -> None:
    red = Pattern("plain", 1, (0, 0, 1), 0, 1, (1, 0, 0), (0, 0, 0))
    blue = dataclasses.replace(red, colour_a=(0, 0, 1))
    colours = solid_patterns([red, blue], np.array([0, 1])).colours(np.array([1, 0], np.int32), NONE, NONE, _points(2))
    np.testing.assert_array_equal(colours, [[0, 0, 1], [1, 0, 0]])


def test_unknown_pattern_is_named() -> None:
    with pytest.raises(ValueError, match="plaid"):
        solid_patterns([dataclasses.replace(CHECKER, kind="plaid")], np.zeros(1))


def test_picture_has_v_upwards_and_repeats() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0], image[1, 1] = (255, 0, 0), (0, 255, 0)
    corner = np.array([[[0.25, 0.75], [0.25, 0.75], [0.25, 0.75]], [[1.75, 0.25], [1.75, 0.25], [1.75, 0.25]]])
    texture = TextureImage(image, corner.astype(np.float32))
    half = np.full(2, 0.3, np.float32)
    colours = texture.colours(np.array([0, 1], np.int32), half, half, _points(2))
    np.testing.assert_allclose(colours, [[1, 0, 0], [0, 1, 0]], atol=1e-5)


def test_corner_colours_mix_and_follow_selection() -> None:
    corners = np.eye(3, dtype=np.float32)[None]
    picked = CornerColours(corners).select(np.array([[0, 0, 0]]), np.array([[2, 1, 0]]))
    mixed = picked.colours(np.zeros(1, np.int32), np.float32([0.25]), np.float32([0.5]), _points(1))
    np.testing.assert_allclose(mixed, [[0.5, 0.25, 0.25]], atol=1e-6)
