"""Sweeps on a real local Ray: trials equal plain runs, failures are listed, resumed sweeps lose nothing."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from sweep_support import RATES, small_fuse, small_space, wait_for_release
from tests_support import render_small, small_recipe

from datasets_catalog import load_dataset
from eventsam import checkpoint
from eventsam.catalog import open_catalog
from eventsam.checkpoint import CheckpointWriteError
from eventsam.engine import LocalRun, fit
from eventsam.loading import Loader, make_loader
from eventsam.metrics_log import MetricsLog
from eventsam.recipe import Recipe
from eventsam.report.sweep_html import write_sweep_report
from eventsam.spec import Spec, build, get
from ray_jobs.sweep import check_same, record_of, run_sweep
from ray_jobs.sweep_placement import Asked, place
from ray_jobs.sweep_plan import Plan, SweepOptions, check_builds, make_plan
from ray_jobs.sweep_report import sweep_report
from ray_jobs.sweep_store import ENDED, FAILED, FINISHED, STOPPED, SweepFolder
from ray_jobs.sweep_tracking import SweepTracking
from ray_jobs.tracked import Tracking
from search_spaces import Choice, load_space

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("sweep"), 8)


def planned(root: Path, options: SweepOptions, rates: Choice = RATES, **changes: object) -> Plan:
    space = small_space({"optimizer.learning_rate": rates})
    return check_builds(make_plan("reconstruct", small_recipe("reconstruct", root, **changes), space, options))[0]


def run(plan: Plan, path: Path, asked: Asked | None = None) -> list[str]:
    """Run a sweep to its end and return what it said."""
    folder, said = SweepFolder(path), list[str]()
    if not folder.exists:
        folder.write_record(record_of(plan))
    run_sweep(plan, folder, place(asked or Asked(2, threads=1), plan), None, said.append)
    return said


def losses(folder: Path) -> dict[int, float]:
    records = MetricsLog(folder / "metrics.jsonl").read()
    return {int(record["step"]): record["loss"] for record in records if "loss" in record}


def plain_records(recipe: Spec, folder: Path) -> list[dict[str, float]]:
    """Train a recipe in this process, without Ray, and return what it says."""
    torch.set_num_threads(1)
    torch.manual_seed(get(recipe, "seed"))
    built: Recipe = build(recipe)
    dataset, size = load_dataset(built.data.dataset), built.budget.global_batch_size
    catalog = open_catalog(dataset, Path(built.data.root))
    training, validation = (
        make_loader(dataset, catalog, built.data, built.task.reads, seed=built.seed, training=part)
        for part in (True, False)
    )

    def batches(loader: Loader, start: int, stop: int) -> Iterator[dict]:
        for first in range(start, stop, size):
            yield loader.batch(np.arange(first, first + size))

    local = LocalRun(folder)
    fit(
        built.task,
        lambda position: batches(training, position, built.budget.num_steps * size),
        validation=lambda: batches(validation, 0, validation.order.num_samples),
        optimizer=built.optimizer, budget=built.budget, run=local, folder=folder,
    )  # fmt: skip
    return local.records


def plain_losses(recipe: Spec, folder: Path) -> dict[int, float]:
    records = plain_records(recipe, folder)
    return {int(record["step"]): record["loss"] for record in records if "loss" in record}


@pytest.fixture(scope="module")
def swept(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, list[str]]:
    """A sweep by ASHA over four learning rates and one that breaks the training."""
    path = tmp_path_factory.mktemp("swept") / "runs" / "rates"
    plan = planned(root, SweepOptions(search="grid", num_validations=4), Choice((*RATES.values, 1e30)))
    folder, said = SweepFolder(path), list[str]()
    folder.write_record(record_of(plan))
    tracking = SweepTracking(Tracking("sweeps"), plan, folder)
    placement = place(Asked(2, threads=1), plan)
    run_sweep(plan, folder, placement, tracking, said.append)
    report = sweep_report(plan, folder, placement)
    pictures = write_sweep_report(path / "report.html", report)
    tracking.finish("FINISHED", pictures, path / "report.html")
    return plan, path, said


@pytest.mark.timeout(400)
def test_every_trial_ends_and_the_broken_one_says_why(swept: tuple[Plan, Path, list[str]]) -> None:
    plan, path, said = swept
    assert wait_for_release() < 15
    states = SweepFolder(path).states()
    assert states["p004"].status == FAILED
    assert "gradient norm" in states["p004"].cause
    assert {state.status for name, state in states.items() if name != "p004"} <= {FINISHED, STOPPED}
    best = [state for state in states.values() if state.status == FINISHED]
    assert best
    assert all(state.samples == plan.max_samples and state.score is not None for state in best)
    assert any("failed" in line and "5 trials" in line for line in said)
    # The scheduler heard of every validation, in samples.
    curves = [[record["samples"] for record in MetricsLog(path / "trials" / name / "metrics.jsonl").read()] for name in
              states if name != "p004"]  # fmt: skip
    assert all(curve == [24.0 * (i + 1) for i in range(len(curve))] for curve in curves)
    assert not (path / "ray").exists()
    assert not (path / "shared").exists()


def test_a_trial_trains_as_the_same_recipe_does_by_itself(swept: tuple[Plan, Path, list[str]], tmp_path: Path) -> None:
    plan, path, _ = swept
    name = next(name for name, state in SweepFolder(path).states().items() if state.status == FINISHED)
    recipe = next(point.recipe for point in plan.trials if point.name == name)
    plain = plain_records(recipe, tmp_path)
    trial = MetricsLog(path / "trials" / name / "seed_0" / "metrics.jsonl")
    for part in ("loss", "val/viou", "val/chamfer"):
        assert {record["step"]: record[part] for record in trial.read() if part in record} == {
            record["step"]: record[part] for record in plain if part in record
        }


def test_samples_are_read_once_for_all_trials(swept: tuple[Plan, Path, list[str]]) -> None:
    said = next(line for line in swept[2] if line.startswith("samples:"))
    read, asked = int(said.split()[1]), int(said.split("for ")[1].split()[0])
    # 96 training samples and the validation's, in blocks of 64.
    assert read <= 4
    assert asked > 3 * read
    assert "catalog opened 1 time" in said


def test_mlflow_has_a_parent_and_a_child_per_trial(swept: tuple[Plan, Path, list[str]]) -> None:
    _, path, _ = swept
    client = MlflowClient(f"sqlite:///{path.parent}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'sweeps'")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 5
    assert {child.data.tags["sweep.status"] for child in children} >= {FINISHED, FAILED}
    assert {child.data.params["optimizer.learning_rate"] for child in children} >= {"0.001", "0.002"}
    finished = next(child for child in children if child.data.tags["sweep.status"] == FINISHED)
    assert len(client.get_metric_history(finished.info.run_id, "score")) == 4
    pictures = [file.path for file in client.list_artifacts(parent.info.run_id, "figures")]
    assert "figures/parallel_coordinates.png" in pictures
    assert parent.data.metrics["best/viou"] == max(child.data.metrics.get("score", 0.0) for child in children)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_resumed_sweep_goes_on_from_checkpoints_and_leaves_the_ended_alone(
    swept: tuple[Plan, Path, list[str]], tmp_path: Path
) -> None:
    """The folder of a driver that was killed in the middle of one trial and before the start of another."""
    plan, path, _ = swept
    before = SweepFolder(path).states()
    half = next(name for name, state in before.items() if state.status == FINISHED)
    gone = next(name for name, state in before.items() if state.status != FAILED and name != half)
    copy = SweepFolder(tmp_path / "rates")
    shutil.copytree(path, copy.path)
    (copy.path / "journal.jsonl").unlink(missing_ok=True)
    for name, state in before.items():
        if state.status == STOPPED and name != gone:
            copy.decide(name, STOPPED)
    trial = copy.trial(half)
    record = json.loads((trial.path / "trial.json").read_text())
    (trial.path / "trial.json").write_text(json.dumps({**record, "status": "running", "samples": 24}))
    for folder in sorted(trial.path.glob("seed_0/checkpoints/step_*"))[1:]:
        shutil.rmtree(folder)
    for file in (trial.path / "seed_0" / "metrics.jsonl", trial.path / "metrics.jsonl"):
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    kept = checkpoint.read_state(next(trial.path.glob("seed_0/checkpoints/step_*"))).step
    (copy.trial(gone).path / "trial.json").unlink()
    shutil.rmtree(copy.trial(gone).path / "seed_0")
    untouched = {file: file.stat().st_mtime_ns for name in before if name not in (half, gone)
                 for file in copy.trial(name).path.rglob("*") if file.is_file()}  # fmt: skip
    check_same(copy, plan)
    run(plan, copy.path)
    after = copy.states()
    assert after[half].score == before[half].score
    assert after[half].starts == before[half].starts + 1
    assert min(step for step in losses(trial.path / "seed_0")) <= kept
    assert after[gone].status in (FINISHED, STOPPED)
    assert {file: file.stat().st_mtime_ns for file in untouched if file.name != "lock"} == {
        file: stamp for file, stamp in untouched.items() if file.name != "lock"
    }
    wait_for_release()


def test_a_changed_sweep_is_refused_with_the_difference(swept: tuple[Plan, Path, list[str]], root: Path) -> None:
    _, path, _ = swept
    other = planned(root, SweepOptions(search="grid", num_validations=4), Choice((1e-3, 5e-3)))
    with pytest.raises(ValueError, match=r"learning_rate\.choice: .*0\.008.* -> \['0\.001', '0\.005'\]"):
        check_same(SweepFolder(path), other)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_points_score_is_the_mean_over_its_seeds(root: Path, tmp_path: Path) -> None:
    options = SweepOptions(scheduler="fifo", search="grid", num_seeds=2, num_samples=48, num_validations=2)
    plan = planned(root, options, Choice((2e-3, 8e-3)))
    run(plan, tmp_path / "seeds")
    for name, state in SweepFolder(tmp_path / "seeds").states().items():
        folders = [tmp_path / "seeds" / "trials" / name / f"seed_{seed}" for seed in (0, 1)]
        scores = [MetricsLog(folder / "metrics.jsonl").read()[-1]["val/viou"] for folder in folders]
        assert state.score == pytest.approx(np.mean(scores))
        assert state.low is not None
        assert state.high is not None
        # Student's t with one degree of freedom: 12.7 standard errors on either side.
        assert state.high - state.low == pytest.approx(2 * 12.706 * abs(scores[0] - scores[1]) / 2, rel=1e-3, abs=1e-9)
        assert losses(folders[0]) != losses(folders[1])
    # A driver that dies when one seed is ahead of the other: the next one brings them together again.
    torn = SweepFolder(tmp_path / "torn")
    shutil.copytree(tmp_path / "seeds", torn.path)
    before, trial = torn.states()["p001"], torn.trial("p001")
    (trial.path / "trial.json").unlink()
    (trial.path / "metrics.jsonl").unlink()
    shutil.rmtree(trial.path / "seed_1")
    run(plan, torn.path)
    after = torn.states()["p001"]
    assert (after.score, after.low, after.high) == (before.score, before.low, before.high)
    assert [record["step"] for record in trial.log.read()] == [2, 4]
    # Taking turns in one process changes nothing for either seed.
    recipe = plan.trials[0].recipe
    assert losses(tmp_path / "seeds" / "trials" / "p000" / "seed_0") == plain_losses(recipe, tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_population_based_training_copies_everything(root: Path, tmp_path: Path) -> None:
    options = SweepOptions(num_trials=4, scheduler="pbt", num_samples=96, num_validations=4)
    plan = planned(root, options, Choice((1e-6, 2e-3, 4e-3, 8e-3)))
    run(plan, tmp_path / "pbt")
    folder = SweepFolder(tmp_path / "pbt")
    states = folder.states()
    assert {state.status for state in states.values()} == {FINISHED}
    cloned = [(name, event) for name, state in states.items() for event in state.history]
    assert cloned
    # The steps before a clone were another trial's: their seconds are not counted twice.
    assert all(state.train_s <= state.seconds for state in states.values())
    name, event = cloned[-1]
    generation = folder.trial(name).fit_folder(0, states[name].generation)
    records = MetricsLog(generation / "metrics.jsonl").read()
    # It goes on at the other trial's position, with its own learning rate on the schedule of that position.
    assert records[0]["step"] * 12 == event["samples"] + 12
    state = checkpoint.read_state(checkpoint.latest(generation / "checkpoints") or Path())
    assert get(state.recipe, "optimizer.learning_rate") == float(states[name].values["optimizer.learning_rate"])
    assert state.position == 96
    optimizer = build(state.recipe.arguments["optimizer"])
    expected = optimizer.learning_rate_at(int(records[0]["step"]) - 1, 8)
    assert records[0]["learning_rate"] == pytest.approx(expected)
    wait_for_release()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_trial_without_room_for_checkpoints_has_not_failed(root: Path, tmp_path: Path) -> None:
    options = SweepOptions(scheduler="fifo", search="grid", num_samples=48, num_validations=2)
    plan, folder = planned(root, options, Choice((2e-3, 8e-3))), SweepFolder(tmp_path / "full")
    blocked = folder.trial("p000").path / "seed_0" / "checkpoints"
    blocked.parent.mkdir(parents=True)
    blocked.touch()  # what is no folder cannot be written to, also by root
    with pytest.raises(CheckpointWriteError, match=r"p000: checkpoints cannot be written.*go on with --resume"):
        run(plan, folder.path)
    assert [state.status in ENDED for state in folder.states().values()] == [False, True]
    blocked.unlink()
    run(plan, folder.path)
    assert {state.status for state in folder.states().values()} == {FINISHED}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fusion_designs_share_what_the_teacher_says(root: Path, tmp_path: Path) -> None:
    recipe = small_fuse(root, tmp_path, **{"budget.num_samples": 48})
    options = SweepOptions(num_trials=3, num_validations=2, search_seed=1)
    plan = check_builds(make_plan("fuse", recipe, load_space("fusion_designs"), options))[0]
    run(plan, tmp_path / "designs")
    states = SweepFolder(tmp_path / "designs").states()
    assert {state.status for state in states.values()} <= {FINISHED, STOPPED}
    assert len({state.values["task.fusion"] for state in states.values()}) > 1
    assert SweepFolder(tmp_path / "designs").read_record()["space"]["name"] == "fusion_designs"
