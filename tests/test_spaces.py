"""Every search space fits its recipe; draws, grids, conditions and refusals."""

import numpy as np
import pytest

from eventsam.recipe import load_recipe
from eventsam.representations.voxel_grid import VoxelGrid
from eventsam.spec import differences, get, spec
from search_spaces import Choice, Options, Range, Space, label_of, load_space, space_names

FUSED = {"task.fusion": "attn", "place": "final", "task.injection_blocks": "1,2", "optimizer.learning_rate": 0.004}


@pytest.mark.parametrize("name", space_names())
def test_every_space_fits_its_recipe(name: str) -> None:
    space = load_space(name)
    recipe = load_recipe(space.recipe)
    space.check(recipe)
    generator = np.random.default_rng(0)
    points = [space.draw(generator) for _ in range(30)]
    changed = [space.apply(recipe, point) for point in points]
    assert all(differences(recipe, point) for point in changed)
    assert len({str(sorted(point.items())) for point in points}) > 10
    assert {key for point in space.grid() for key in point} == set(space.parameters)


def test_every_swept_value_reaches_the_recipe() -> None:
    recipe = load_space("fusion_designs").apply(
        load_recipe("fuse"), FUSED | {"task.fusion": "cattn", "place": "encoder"}
    )
    assert get(recipe, "task.fusion") == "cattn"
    assert get(recipe, "task.injection_blocks") == (1, 2)
    assert get(recipe, "optimizer.learning_rate") == 0.004


def test_a_parameter_that_does_not_matter_changes_nothing() -> None:
    space = load_space("fusion_designs")
    first = space.apply(load_recipe("fuse"), FUSED)
    second = space.apply(load_recipe("fuse"), FUSED | {"task.injection_blocks": "2"})
    assert differences(first, second) == []
    assert not space.matters("task.injection_blocks", FUSED)


def test_options_change_several_keys_at_once() -> None:
    space = load_space("representations")
    first = {key: parameter.grid()[0] for key, parameter in space.parameters.items()}
    recipe = space.apply(load_recipe("distill"), first | {"representation": "voxel_grid_5"})
    assert get(recipe, "data.representation").target is VoxelGrid
    assert get(recipe, "task.in_channels") == 5


def test_ranges_draw_evenly_on_their_scale_and_keep_their_bounds() -> None:
    wide = Range(1e-4, 1e-1, log=True)
    drawn = [float(wide.draw(generator)) for generator in [np.random.default_rng(0)] for _ in range(400)]
    assert min(drawn) >= 1e-4
    assert max(drawn) <= 1e-1
    assert 0.4 < np.mean(np.array(drawn) < 3.16e-3) < 0.6
    assert wide.grid() == (1e-4, 3.16e-3, 1e-1)
    assert Range(2, 9, whole=True).grid() == (2, 6, 9)
    assert wide.share_of(3.1623e-3) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(("low", "high", "log"), [(2, 1, False), (0, 1, True), (1, float("inf"), False)])
def test_impossible_ranges_are_refused(low: float, high: float, log: bool) -> None:
    with pytest.raises(ValueError, match="range"):
        Range(low, high, log=log)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"optimizer.learning_rat": Range(1, 2)}, "did you mean 'learning_rate'"),
        ({"budget.global_batch_size": Range(1.5, 8)}, "1.5 is no int"),
        ({"task.silhouette_weight": Choice(("much",))}, "'much' is no float"),
        ({"a": Options({"b": {"data.windw.length_ms": 3}})}, "did you mean 'window'"),
        ({"optimizer.learning_rate": Range(1, 2, only={"plce": ("x",)})}, "plce"),
        ({"a": Options({"b": {}}), "seed": Choice((1,), only={"a": ("c",)})}, "unknown label of a 'c'"),
    ],
)
def test_what_does_not_fit_is_refused_with_space_and_key(parameters: dict, message: str) -> None:
    space = Space("mine", parameters, "viou", "max", "reconstruct")
    with pytest.raises((KeyError, ValueError), match=message) as caught:
        space.check(load_recipe("reconstruct"))
    assert "'mine'" in str(caught.value)


def test_an_unknown_space_names_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'fusion_designs'"):
        load_space("fusion_design")


def test_labels_are_what_the_command_line_takes() -> None:
    values = (None, True, (5, 11), 0.5, "final")
    assert [label_of(value) for value in values] == ["none", "true", "5,11", "0.5", "final"]
    assert Choice(((0, 2), None)).changes("a.b", "0,2") == {"a.b": (0, 2)}
    with pytest.raises(ValueError, match=r"unknown value of a\.b '7'"):
        Choice((1, 2)).changes("a.b", "7")


def test_a_space_is_told_apart_by_everything_it_states() -> None:
    def space(num_bins: int) -> Space:
        option = {"data.representation": spec(VoxelGrid, num_bins=num_bins)}
        return Space("s", {"x": Options({"a": option})}, "viou", "max", "fuse")

    assert space(3).to_json() == space(3).to_json() != space(4).to_json()
