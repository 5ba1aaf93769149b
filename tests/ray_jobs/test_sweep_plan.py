"""What a sweep checks before it starts: points told apart by what they mean, keys, values, metric, resources."""

import shlex
from pathlib import Path

import pytest
from sweep_support import small_fuse, small_space
from tests_support import render_small, small_recipe

from eventsam.recipe import load_recipe
from eventsam.spec import Spec, get
from ray_jobs import sweep_placement
from ray_jobs.__main__ import changed
from ray_jobs.sweep_placement import Asked
from ray_jobs.sweep_plan import SweepOptions, check_builds, effective_hash, make_plan, samples_of
from ray_jobs.sweep_report import train_command
from search_spaces import Choice, Options, Range, load_space


@pytest.fixture(scope="module")
def fuse(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Spec:
    return small_fuse(root, tmp_path_factory.mktemp("stages"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("plan"), 6)


def test_points_that_mean_the_same_are_run_once(root: Path) -> None:
    space = small_space(
        {
            "place": Options({"final": {"task.silhouette_weight": 0.0}, "inner": {}}),
            "task.silhouette_weight": Choice((0.5, 1.0), only={"place": ("inner",)}),
        }
    )
    plan = make_plan("reconstruct", small_recipe("reconstruct", root), space, SweepOptions(search="grid"))
    assert [(point.name, point.same_as) for point in plan.points] == [
        ("p000", ""), ("p001", "p000"), ("p002", ""), ("p003", ""),
    ]  # fmt: skip
    assert [point.name for point in plan.trials] == ["p000", "p002", "p003"]


def test_a_default_that_is_stated_means_the_same(root: Path) -> None:
    recipe = small_recipe("reconstruct", root)
    assert effective_hash(recipe) == effective_hash(small_recipe("reconstruct", root, **{"task.rgb": "rgb"}))
    assert effective_hash(recipe) != effective_hash(small_recipe("reconstruct", root, seed=1))


def test_random_points_are_the_same_for_a_seed_and_as_many_as_asked_for(root: Path) -> None:
    def plan(seed: int, trials: int) -> list[dict]:
        options = SweepOptions(num_trials=trials, search_seed=seed)
        made = make_plan("reconstruct", small_recipe("reconstruct", root), load_space("learning_rates"), options)
        return [dict(point.values) for point in made.trials]

    assert plan(0, 5) == plan(0, 9)[:5]
    assert plan(0, 5) != plan(1, 5)
    assert len(plan(2, 9)) == 9


def test_a_small_space_has_no_more_trials_than_points(root: Path) -> None:
    plan = make_plan("reconstruct", small_recipe("reconstruct", root), small_space(), SweepOptions(num_trials=9))
    assert len(plan.trials) == 4


def test_the_budget_is_one_for_all_and_validated_evenly(root: Path) -> None:
    space = small_space({"budget.global_batch_size": Choice((4, 8, 12))})
    options = SweepOptions(search="grid", num_samples=96, num_validations=4)
    plan = make_plan("reconstruct", small_recipe("reconstruct", root), space, options)
    assert [samples_of(point.recipe) for point in plan.trials] == [(96, 24), (96, 24), (96, 24)]
    assert {get(point.recipe, "budget.checkpoint_every") for point in plan.trials} == {6, 3, 2}


def test_a_grid_that_is_larger_than_the_trials_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="the grid of 'learning_rates' has 4 points, --trials allows 3"):
        make_plan("reconstruct", small_recipe("reconstruct", root), small_space(), SweepOptions(3, search="grid"))


def test_unfit_combinations_are_refused() -> None:
    with pytest.raises(ValueError, match="belongs to --scheduler hyperband"):
        SweepOptions(search="bohb")
    with pytest.raises(ValueError, match="starts from --search random"):
        SweepOptions(scheduler="pbt", search="grid")


def test_pbt_needs_something_that_may_change_on_the_way(root: Path) -> None:
    space = small_space({"data.window.length_ms": Choice((5.0, 10.0))})
    with pytest.raises(ValueError, match="holds neither"):
        make_plan("reconstruct", small_recipe("reconstruct", root), space, SweepOptions(scheduler="pbt"))


def test_a_metric_that_does_not_exist_is_refused_with_the_nearest(root: Path) -> None:
    plan = make_plan("reconstruct", small_recipe("reconstruct", root), small_space(metric="vio"), SweepOptions())
    with pytest.raises(KeyError, match="unknown metric of Reconstruct 'vio'; did you mean 'viou'"):
        check_builds(plan)


def test_a_point_that_cannot_be_built_is_named(root: Path, fuse: Spec) -> None:
    space = small_space({"task.injection_blocks": Choice(((0, 1), (2, 3)))}, recipe="fuse")
    plan = make_plan("fuse", fuse, space, SweepOptions(search="grid"))
    with pytest.raises(ValueError, match=r"point p001 \(task.injection_blocks=2,3\): .*blocks \[3\] out of range"):
        check_builds(plan)


def test_a_required_value_is_asked_for(root: Path) -> None:
    plan = make_plan("distill", small_recipe("distill", root), load_space("distill_losses"), SweepOptions(2))
    with pytest.raises(ValueError, match=r"task\.teacher\.checkpoint is required"):
        check_builds(plan)


def test_the_catalog_and_its_counts_are_in_the_plan(root: Path, fuse: Spec) -> None:
    plan, catalog = check_builds(make_plan("fuse", fuse, load_space("fusion_designs"), SweepOptions(3)))
    assert plan.catalog_hash == catalog.hash
    assert int(plan.facts["training samples"]) > 0


def test_the_winners_command_states_its_recipe(root: Path, fuse: Spec) -> None:
    recipes = {"fuse": fuse, "distill": small_recipe("distill", root)}
    for name in ("fusion_designs", "blur_robustness", "representations", "distill_losses"):
        space = load_space(name)
        plan = make_plan(space.recipe, recipes[space.recipe], space, SweepOptions(4, search_seed=3))
        for point in plan.trials:
            words = shlex.split(train_command(space.recipe, point.recipe))
            assert words[:3] == ["eventsam", "train", space.recipe]
            assert set(words[3::2]) == {"--set"}
            assert effective_hash(changed(load_recipe(space.recipe), words[4::2])) == point.hash


NODES = [{"CPU": 4.0}]


def test_trials_get_as_much_as_keeps_their_number(root: Path) -> None:
    plan = make_plan("reconstruct", small_recipe("reconstruct", root), small_space(), SweepOptions())
    two = sweep_placement._in_trial(Asked(concurrent=2), plan, NODES)
    assert (two.bundle, two.limit) == ({"CPU": 1.334}, 0)
    with pytest.raises(ValueError, match=r"4 trials x 1.0 CPU \+ 1 CPU for reading = 5.0 CPUs, but the cluster"):
        sweep_placement._in_trial(Asked(concurrent=4), plan, NODES)


@pytest.mark.parametrize("scheduler", ["asha", "pbt", "hyperband"])
@pytest.mark.parametrize("cpus", [(2,), (3,), (4,), (8,), (64,), (4, 4), (2, 16)])
def test_readers_always_find_a_cpu(scheduler: str, cpus: tuple[int, ...], root: Path) -> None:
    """However many trials Ray places by their bundles alone, a reader has room beside them."""
    options = SweepOptions(12, scheduler=scheduler)  # type: ignore[arg-type]
    plan = make_plan("reconstruct", small_recipe("reconstruct", root), load_space("learning_rates"), options)
    nodes = [{"CPU": float(count)} for count in cpus]
    for concurrent in range(1, sum(cpus)):
        placed = sweep_placement._in_trial(Asked(concurrent), plan, nodes)
        width, left = placed.bundle["CPU"], placed.limit or 2**31
        for node in sorted(nodes, key=lambda node: node["CPU"]):
            trials = min(left, int(node["CPU"] / width + 1e-9))
            left, node["CPU"] = left - trials, node["CPU"] - trials * width
        assert max(node["CPU"] for node in nodes) >= placed.reader_cpus - 1e-9 > 0
        nodes = [{"CPU": float(count)} for count in cpus]


def test_gpus_hold_whole_trials(root: Path) -> None:
    plan = make_plan("reconstruct", small_recipe("reconstruct", root), load_space("learning_rates"), SweepOptions(40))
    nodes = [{"CPU": 32.0, "GPU": 2.0}, {"CPU": 32.0, "GPU": 2.0}]
    assert sweep_placement._in_trial(Asked(concurrent=8, gpus_per_trial=0.4), plan, nodes).concurrent == 8
    with pytest.raises(ValueError, match=r"9 x 0.4 GPU = 3.6 GPUs, but the cluster has .*, where 8 such trials fit"):
        sweep_placement._in_trial(Asked(concurrent=9, gpus_per_trial=0.4), plan, nodes)


def test_several_workers_need_the_sum_of_all(root: Path) -> None:
    plan = make_plan("reconstruct", small_recipe("reconstruct", root), small_space(), SweepOptions(num_seeds=2))
    asked = Asked(concurrent=2, workers_per_trial=3)
    message = r"2 trials x 2 seeds x \(3 workers x 1.0 CPU \+ 1 CPU for reading\) = 16.0 CPUs"
    with pytest.raises(ValueError, match=message):
        sweep_placement._torch_trainer(asked, plan, NODES)
    assert sweep_placement._torch_trainer(asked, plan, [{"CPU": 16.0}]).concurrent == 2


def test_wide_ranges_fit_too(root: Path) -> None:
    space = small_space({"optimizer.learning_rate": Range(1e-4, 1e-2, log=True)})
    assert len(make_plan("reconstruct", small_recipe("reconstruct", root), space, SweepOptions(5)).trials) == 5
