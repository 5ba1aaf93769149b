"""Sizes by name: the released ones, the small ones, and refusals."""

import dataclasses

import pytest

from eventsam.models.sam3d.presets import PRESETS, check_preset


def test_the_released_sizes() -> None:
    preset = check_preset("sam3d")
    assert (preset.num_image_tokens, preset.num_pointmap_tokens, preset.num_condition_tokens) == (1370, 1024, 7528)
    assert (preset.num_shape_tokens, preset.resolution) == (4096, 64)


@pytest.mark.parametrize("name", PRESETS)
def test_the_occupancy_has_four_cells_per_latent_cell(name) -> None:
    assert check_preset(name).resolution == 4 * check_preset(name).grid


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown sam3d preset 'tinny'; did you mean 'tiny'"):
        check_preset("tinny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 65}, "image_size 65 is not divisible by 8"),
        ({"pointmap_window": 7}, "pointmap_size 64 is not divisible by 7"),
        ({"num_heads": 3}, "width 128 is not divisible by 3"),
        ({"encoder": "tinny"}, "unknown encoder preset 'tinny'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PRESETS["tiny"], **changes)
