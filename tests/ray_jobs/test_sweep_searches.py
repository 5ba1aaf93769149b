"""Schedulers and searches of Ray Tune as sweeps use them; the long ones, and real kills, are marked slow."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
from sweep_support import small_fuse, small_space, wait_for_release
from tests_support import render_small, small_recipe

from eventsam.metrics_log import MetricsLog
from eventsam.spec import get
from ray_jobs import sweep_scheduling
from ray_jobs.sweep import record_of, run_sweep
from ray_jobs.sweep_placement import Asked, place
from ray_jobs.sweep_plan import Plan, SweepOptions, check_builds, make_plan
from ray_jobs.sweep_scheduling import Asha, Named, make_search, tune_space
from ray_jobs.sweep_search import NamedPoints
from ray_jobs.sweep_store import ENDED, FAILED, FINISHED, SweepFolder, TrialState
from ray_jobs.sweep_trial import CAUSE, SCORE, TIME
from search_spaces import Choice, Range, Space, load_space, space_names

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("searches"), 8)


def planned(root: Path, options: SweepOptions, space: Space | None = None) -> Plan:
    recipe = small_recipe("reconstruct", root)
    return check_builds(make_plan("reconstruct", recipe, space or load_space("learning_rates"), options))[0]


def asha() -> Asha:
    return Asha(lambda trial: trial.trial_id, mode="max", max_t=90, grace_period=10, reduction_factor=3)


def test_asha_decides_the_same_after_a_restart(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    calm, told = asha(), []
    scores = {"p000": 0.5, "p001": 0.4, "p002": 0.6, "p003": 0.1, "p004": 0.7, "p005": 0.2}
    for name, score in scores.items():
        folder.trial(name).write_point({})
        calm.on_trial_add(None, Named(name))
        for samples in (10, 20, 30):
            result = {TIME: samples, SCORE: score * samples}
            folder.trial(name).log.append({"step": samples, "samples": samples, "score": score * samples})
            told.append(calm.on_trial_result(None, Named(name), result))
            if told[-1] == "STOP":
                break
    resumed = asha()
    resumed.replay(folder.trials)
    assert [rung for _, rung in resumed._brackets[0]._rungs] == [rung for _, rung in calm._brackets[0]._rungs]
    for name, score in (("p006", 0.3), ("p004", 0.8)):
        for scheduler in (calm, resumed):
            scheduler.on_trial_add(None, Named(name))
        result = {TIME: 40, SCORE: score * 40}
        assert calm.on_trial_result(None, Named(name), result) == resumed.on_trial_result(None, Named(name), result)


def test_a_failed_trial_leaves_no_score_in_the_rungs() -> None:
    scheduler = asha()
    scheduler.on_trial_add(None, Named("p0"))
    scheduler.on_trial_complete(None, Named("p0"), {TIME: 10, SCORE: float("nan"), CAUSE: "it broke"})
    assert not any(rung for _, rung in scheduler._brackets[0]._rungs)


@pytest.mark.parametrize("name", space_names())
def test_every_space_becomes_distributions(name: str) -> None:
    space = load_space(name)
    for key, distribution in tune_space(space).items():
        drawn = distribution.sample()
        assert space.parameters[key].changes(key, drawn) is not None


@pytest.mark.parametrize("kind", ["optuna", "bohb"])
def test_a_search_without_its_package_says_how_to_install_it(
    kind: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_scheduling.importlib.util, "find_spec", lambda name: None)
    scheduler = "hyperband" if kind == "bohb" else "asha"
    plan = planned(root, SweepOptions(search=kind, scheduler=scheduler))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"--search {kind} needs .*: pip install "):
        make_search(kind, plan)


# hpbandster speaks to ConfigSpace as its releases before 1.0 wanted it.
OLD_CONFIGSPACE = pytest.mark.filterwarnings("ignore:Please use:DeprecationWarning")


@OLD_CONFIGSPACE
@pytest.mark.parametrize("kind", ["optuna", "bohb"])
def test_a_resumed_search_suggests_new_points_under_new_names(kind: str, root: Path, tmp_path: Path) -> None:
    pytest.importorskip({"optuna": "optuna", "bohb": "hpbandster"}[kind])
    scheduler = "hyperband" if kind == "bohb" else "asha"
    plan = planned(root, SweepOptions(30, search=kind, scheduler=scheduler))  # type: ignore[arg-type]
    folder = SweepFolder(tmp_path)
    for number in range(25):
        values = plan.space.draw(np.random.default_rng(number))
        folder.trial(f"p{number:03d}").write_point(values)
        score = float("nan") if number == 3 else number / 25
        folder.trial(f"p{number:03d}").write_state(TrialState(FINISHED, values, 96, score))
    search = NamedPoints(plan, folder, make_search(kind, plan, 25), (), 5)
    names = []
    for number in range(5):
        suggested = search.suggest(f"trial_{number}")
        assert isinstance(suggested, dict)
        names.append(suggested["point"])
        assert plan.point(suggested["values"]).hash not in {plan.point(t.read_point()).hash for t in folder.trials[:25]}
    assert names == [f"p{number:03d}" for number in range(25, 30)]
    assert search.suggest("trial_5") == NamedPoints.FINISHED


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("scheduler", ["hyperband", "pbt"])
def test_a_failing_trial_holds_no_other_up(scheduler: str, root: Path, tmp_path: Path) -> None:
    space = small_space({"optimizer.learning_rate": Choice((2e-3, 4e-3, 8e-3, 1e30))})
    options = SweepOptions(4, scheduler=scheduler, num_samples=96, num_validations=4)  # type: ignore[arg-type]
    plan, folder = planned(root, options, space), SweepFolder(tmp_path / "failing")
    folder.write_record(record_of(plan))
    run_sweep(plan, folder, place(Asked(2, threads=1), plan), None)
    states = folder.states()
    assert all(state.status in ENDED for state in states.values())
    failed = [state for state in states.values() if state.status == FAILED]
    # Population based training may hand the rate on to others.
    assert {state.values["optimizer.learning_rate"] for state in failed} == {"1e+30"}
    assert any(state.status == FINISHED for state in states.values())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.timeout(400)
@OLD_CONFIGSPACE
@pytest.mark.parametrize(
    ("scheduler", "search"), [("asha", "optuna"), ("hyperband", "bohb"), ("hyperband", "random"), ("fifo", "grid")]
)
def test_schedulers_and_searches_end(scheduler: str, search: str, root: Path, tmp_path: Path) -> None:
    pytest.importorskip({"optuna": "optuna", "bohb": "hpbandster"}.get(search, "ray"))
    space = small_space({"optimizer.learning_rate": Range(1e-3, 8e-3, log=True), "seed": Choice((0, 1))})
    options = SweepOptions(num_trials=0 if search == "grid" else 6, scheduler=scheduler, search=search,
                           num_samples=72, num_validations=3)  # type: ignore[arg-type] # fmt: skip
    plan = planned(root, options, space)
    folder = SweepFolder(tmp_path / "sweep")
    folder.write_record(record_of(plan))
    run_sweep(plan, folder, place(Asked(2, threads=1), plan), None)
    states = folder.states()
    assert len(states) == 6
    assert all(state.status in ENDED and state.status != FAILED for state in states.values())
    assert any(state.status == FINISHED for state in states.values())
    run_sweep(plan, folder, place(Asked(2, threads=1), plan), None)
    assert folder.states() == states


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.timeout(500)
def test_several_workers_per_trial_score_as_one_process_does(root: Path, tmp_path: Path) -> None:
    options = SweepOptions(scheduler="fifo", search="grid", num_samples=48, num_validations=2)
    space = small_space({"optimizer.learning_rate": Choice((2e-3, 8e-3))})
    plan = planned(root, options, space)
    scores = []
    for asked in (Asked(1, threads=1), Asked(1, 0.5, workers_per_trial=2, threads=1)):
        folder = SweepFolder(tmp_path / asked.executor)
        folder.write_record(record_of(plan))
        run_sweep(plan, folder, place(asked, plan), None)
        states = folder.states()
        assert {state.status for state in states.values()} == {FINISHED}
        curves = [MetricsLog(folder.trial(name).path / "seed_0" / "metrics.jsonl").read() for name in states]
        scores.append([[record["loss"] for record in curve if "loss" in record] for curve in curves])
    for first, second in zip(*scores, strict=True):
        assert first == pytest.approx(second, rel=2e-3)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.timeout(500)
def test_asha_stops_launches_and_their_resources_come_back(root: Path, tmp_path: Path) -> None:
    options = SweepOptions(search="grid", num_samples=600, num_validations=10, reduction=2)
    space = small_space({"optimizer.learning_rate": Choice((8e-3, 4e-3, 1e-7, 1e-8))})
    plan = planned(root, options, space)
    folder = SweepFolder(tmp_path / "launches")
    folder.write_record(record_of(plan))
    ended: list[float] = []
    with free_cpus() as free:
        run_sweep(
            plan,
            folder,
            place(Asked(1, 0.5, launch=True, threads=1), plan),
            None,
            lambda line: ended.append(time.time()),
        )
        assert wait_for_release() < 15
    assert all(state.status in ENDED for state in folder.states().values())
    # Between trials too: all CPUs were free at some moment after each one's end.
    for stamp in ended[:4]:
        assert any(stamp <= moment <= stamp + 15 and cpus == ray.cluster_resources()["CPU"] for moment, cpus in free)


@contextmanager
def free_cpus() -> Iterator[list[tuple[float, float]]]:
    """Write down, many times a second, when how many CPUs of the cluster are free."""
    samples: list[tuple[float, float]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            samples.append((time.time(), ray.available_resources().get("CPU", 0.0)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


SMALL = [
    "--set", "task.num_heads=2", "--set", "data.prepare.0.resolution=8", "--set", "data.prepare.2.height=32",
    "--set", "data.prepare.2.width=32", "--set", "budget.global_batch_size=12", "--set", "budget.log_every=1",
]  # fmt: skip


def sweep_command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ray_jobs", "sweep", *arguments],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a driver, and what it started here: on a cluster of its own, a dead driver's Ray dies with it."""
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(children, timeout=20)
    for child in children:
        if child.is_running():
            child.kill()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_driver_loses_no_finished_trial(root: Path, tmp_path: Path) -> None:
    stages = get(small_fuse(root, tmp_path / "stages"), "task")
    arguments = ["fuse", "fusion_designs", "--set", f"data.root={root}", *SMALL, "--runs", str(tmp_path),
                 "--set", f"task.reconstructor.checkpoint={get(stages, 'reconstructor.checkpoint')}",
                 "--set", f"task.event_embedder.checkpoint={get(stages, 'event_embedder.checkpoint')}",
                 "--trials", "6", "--samples", "240", "--validations", "4"]  # fmt: skip
    dry = sweep_command(*arguments, "--name", "dry", "--dry-run")
    table, error = dry.communicate(timeout=200)
    assert dry.returncode == 0, error
    assert "p005" in table
    assert "6 trials of 240 samples, validated every 60" in table
    assert not (tmp_path / "dry").exists()
    driver = sweep_command(*arguments, "--name", "killed")
    folder = SweepFolder(tmp_path / "killed")
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and driver.poll() is None:
        if any(state.status in ENDED for state in folder.states().values()):
            break
        time.sleep(0.05)
    kill_tree(driver)
    before = folder.states()
    ended = {name: state for name, state in before.items() if state.status in ENDED}
    assert 0 < len(ended) < 6
    resumed = sweep_command("--resume", "killed", "--runs", str(tmp_path), "--json", str(tmp_path / "out.json"))
    output, error = resumed.communicate(timeout=400)
    assert resumed.returncode == 0, error
    after = folder.states()
    assert {name: after[name] for name in ended} == ended
    assert all(state.status in ENDED for state in after.values())
    assert "eventsam train fuse --set" in output
    assert json.loads((tmp_path / "out.json").read_text())["winner"] in after
    assert (folder.path / "report.html").exists()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.timeout(400)
def test_a_killed_trial_goes_on_in_another_process(root: Path, tmp_path: Path) -> None:
    options = SweepOptions(scheduler="fifo", search="grid", num_samples=360, num_validations=6)
    plan = planned(root, options, small_space({"optimizer.learning_rate": Choice((2e-3,))}))
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            if len(MetricsLog(tmp_path / "kill" / "trials" / "p000" / "metrics.jsonl").read()) >= 2:
                holder = (tmp_path / "kill" / "trials" / "p000" / "lock").read_text()
                killed.append(int(holder.split()[1]))
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.02)

    scores = []
    for name in ("calm", "kill"):
        folder = SweepFolder(tmp_path / name)
        folder.write_record(record_of(plan))
        if name == "kill":
            threading.Thread(target=kill, daemon=True).start()
        run_sweep(plan, folder, place(Asked(1, threads=1), plan), None)
        scores.append(folder.states()["p000"])
    assert killed
    assert [state.status for state in scores] == [FINISHED, FINISHED]
    assert scores[0].score == scores[1].score
    assert scores[1].starts == 2
