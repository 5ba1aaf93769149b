"""Exact resume: workers, nodes and drivers lost, other numbers of workers, notices heeded; by sample ids and losses."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests_support import render_small, small_recipe

from eventsam import checkpoint
from eventsam.checkpoint import CheckpointWriteError
from eventsam.metrics_log import MetricsLog
from eventsam.spec import Spec, build, replace
from ray_jobs.audit import consumed, sizes_used
from ray_jobs.cluster import Resources
from ray_jobs.elastic import allowed_sizes
from ray_jobs.termination import STOP_FILE
from ray_jobs.train import Keeping, Outcome, launch, prepare

ROOT = Path(__file__).resolve().parents[2]
BATCH_SIZE = 12
AUDIT = Keeping(audit=True)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

ACROSS_WORLDS = 2e-3
"""How far losses may drift apart over these few steps when the number of workers changes: gradients are then summed in
another order, in float32. With the same number of workers they are equal to the bit."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("resume"), 8)


def long_recipe(root: Path, num_steps: int = 24) -> Spec:
    return small_recipe("reconstruct", root, **{"budget.num_samples": num_steps * BATCH_SIZE})


def losses(folder: Path) -> dict[int, float]:
    records = MetricsLog(folder / "metrics.jsonl").read()
    return {int(record["step"]): record["loss"] for record in records if "loss" in record}


def one(cpus: float = 1.0) -> Resources:
    return Resources(1, cpus, threads_per_worker=1)


def two() -> Resources:
    return Resources(2, 0.5, threads_per_worker=1)


def in_a_thread(work: Callable[[], Outcome]) -> tuple[threading.Thread, list[Outcome | BaseException]]:
    ended: list[Outcome | BaseException] = []

    def run() -> None:
        try:
            ended.append(work())
        except BaseException as error:  # looked at by the test
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, ended


def wait_for_step(folder: Path, step: int, thread: threading.Thread | None = None, timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while max(losses(folder), default=0) < step:
        assert time.monotonic() < deadline, f"no step {step} within {timeout_s} s"
        assert thread is None or thread.is_alive()
        time.sleep(0.02)


def finished(ended: list[Outcome | BaseException]) -> Outcome:
    (outcome,) = ended
    if isinstance(outcome, BaseException):
        raise outcome
    assert outcome.status == "finished"
    return outcome


def stop_at(folder: Path, step: int, status: str = "interrupted") -> None:
    def stop() -> None:
        wait_for_step(folder, step)
        (folder / STOP_FILE).write_text(status)

    threading.Thread(target=stop, daemon=True).start()


def training_workers(parent: int | None = None) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(parent).children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()[:1]):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(scope="module")
def calm(root: Path, tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    """An uninterrupted run with one worker."""
    folder = tmp_path_factory.mktemp("calm")
    assert launch(long_recipe(root), folder, one(), keeping=AUDIT).status == "finished"
    return folder


def ids(folder: Path) -> dict[int, list[str]]:
    return consumed(folder, BATCH_SIZE)


@pytest.mark.slow
def test_one_then_two_then_one_worker(calm: Path, root: Path, tmp_path: Path) -> None:
    recipe = long_recipe(root)
    for resources, step in ((one(), 5), (two(), 13)):
        stop_at(tmp_path, step)
        assert launch(recipe, tmp_path, resources, keeping=AUDIT).status == "interrupted"
    assert launch(recipe, tmp_path, one(), keeping=AUDIT).status == "finished"
    assert sizes_used(tmp_path) == [1, 2, 1]
    assert ids(tmp_path) == ids(calm)
    first = min(step for step, loss in losses(calm).items() if losses(tmp_path)[step] != loss)
    assert first > 5  # up to the first change, equal to the bit
    assert losses(tmp_path) == pytest.approx(losses(calm), rel=ACROSS_WORLDS)


@pytest.mark.slow
def test_a_worker_that_gets_sigterm_saves_and_is_replaced(calm: Path, root: Path, tmp_path: Path) -> None:
    # No checkpoint falls due by itself: what is there was saved because of the signal.
    recipe = replace(long_recipe(root), "budget.checkpoint_every", 0)
    thread, ended = in_a_thread(lambda: launch(recipe, tmp_path, one(), keeping=AUDIT))
    wait_for_step(tmp_path, 6, thread)
    (worker,) = training_workers()
    worker.send_signal(signal.SIGTERM)
    worker.wait(120)
    thread.join(300)
    finished(ended)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
             if "loss" in json.loads(line)]  # fmt: skip
    assert steps == list(range(1, 25))  # nothing was redone
    assert not (tmp_path / "failures").exists()  # a notice is no failure
    assert ids(tmp_path) == ids(calm)
    assert losses(tmp_path) == losses(calm)


@pytest.mark.slow
def test_a_preempted_run_says_so_and_goes_on(calm: Path, root: Path, tmp_path: Path) -> None:
    stop_at(tmp_path, 7, "preempted")
    outcome = launch(long_recipe(root), tmp_path, one(), keeping=AUDIT)
    assert outcome.status == "preempted"
    assert checkpoint.read_state(outcome.checkpoint).step == outcome.step
    assert launch(long_recipe(root), tmp_path, one(), keeping=AUDIT).status == "finished"
    assert ids(tmp_path) == ids(calm)
    assert losses(tmp_path) == losses(calm)


@pytest.mark.slow
def test_a_torn_checkpoint_costs_the_steps_since_the_one_before(calm: Path, root: Path, tmp_path: Path) -> None:
    stop_at(tmp_path, 8)
    stopped = launch(long_recipe(root), tmp_path, one(), keeping=AUDIT)
    model = stopped.checkpoint / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-7])
    assert launch(long_recipe(root), tmp_path, one(), keeping=AUDIT).status == "finished"
    assert ids(tmp_path) == ids(calm)
    assert losses(tmp_path) == losses(calm)


def test_storage_that_cannot_be_written_stops_the_run_before_it_starts(
    root: Path, tmp_path: Path, local_ray: None
) -> None:
    (tmp_path / "file").write_text("")
    keeping = Keeping(checkpoints=str(tmp_path / "file" / "checkpoints"))
    with pytest.raises(CheckpointWriteError, match=r"checkpoints cannot be written to .*/file/checkpoints"):
        launch(long_recipe(root), tmp_path / "run", one(), keeping=keeping)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_elastic_sizes_that_share_no_batch_are_refused_and_others_skipped(
    root: Path, tmp_path: Path, local_ray: None, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = long_recipe(root)
    with pytest.raises(
        ValueError, match=r"global_batch_size 12 cannot be shared equally by 7 to 8 workers \(allowed: 1"
    ):
        launch(recipe, tmp_path, Resources((7, 8), 0.1))
    budget = build(recipe.arguments["budget"])
    assert allowed_sizes(Resources((1, 5)), budget) == (1, 2, 3, 4)
    assert "not shared equally by 5 workers: the run uses 1 or 2 or 3 or 4" in caplog.text
    split = build(replace(recipe, "budget.micro_batches", 3).arguments["budget"])
    assert allowed_sizes(Resources((1, 5)), split) == (1, 2, 4)


def command(folder: Path, root: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    words = [
        "train", "reconstruct", "--runs", str(folder), "--name", "run", "--threads", "1",
        "--set", f"data.root={root}", "--set", f"budget.num_samples={24 * BATCH_SIZE}",
        "--set", "task.model.preset=micro", "--set", "task.model.image_size=32", "--set", "task.model.resolution=8",
        "--set", "data.prepare.0.resolution=8", "--set", "data.prepare.2.height=32", "--set", "data.prepare.2.width=32",
        "--set", f"budget.global_batch_size={BATCH_SIZE}", "--set", "budget.log_every=1",
        "--set", "budget.checkpoint_every=3", *more,
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "ray_jobs", *words], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | environment,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_driver_goes_on_with_resume(calm: Path, root: Path, tmp_path: Path) -> None:
    process = command(tmp_path, root)
    folder = tmp_path / "run"
    wait_for_step(folder, 7)
    tree = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(tree, 60)
    assert not alive  # a driver's own Ray ends with it
    reached = max(losses(folder))
    assert reached < 24
    process = command(tmp_path, root, "--resume")
    output, error = process.communicate(timeout=400)
    assert process.returncode == 0, error
    assert "finished at step 24" in output
    assert losses(folder) == losses(calm)


@pytest.mark.slow
def test_a_run_whose_checkpoints_lie_in_a_bucket_goes_on_from_there(calm: Path, root: Path, tmp_path: Path) -> None:
    """The second start has a runs' folder of its own: the machine that held the first one is gone."""
    s3_server = pytest.importorskip("s3_server")
    gone, here = tmp_path / "gone", tmp_path / "here"
    with s3_server.serving() as server:
        bucket = ("--checkpoints", server.url("runs"))
        process = command(gone, root, *bucket, **s3_server.ENVIRONMENT)
        wait_for_step(gone / "run", 9)
        process.kill()
        process.communicate(timeout=60)
        assert not list((gone / "run" / "checkpoints").glob("step_*"))  # all of them are in the bucket
        process = command(here, root, *bucket, **s3_server.ENVIRONMENT)
        _, error = process.communicate(timeout=400)
        assert process.returncode == 2
        assert "holds the checkpoints of a run already, up to step_" in error
        process = command(here, root, *bucket, "--resume", **s3_server.ENVIRONMENT)
        _, error = process.communicate(timeout=400)
        assert process.returncode == 0, error
    assert min(losses(here / "run")) > 3  # it did not begin again
    assert losses(gone / "run") | losses(here / "run") == losses(calm)
    newest = checkpoint.latest(here / "run" / "checkpoints")  # the end of the run brought the newest here
    assert newest is not None
    assert checkpoint.read_state(newest).step == 24


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "0"], ids=["a worker of its own", "in the driver"])
def test_a_driver_that_gets_sigterm_saves_and_says_so(calm: Path, root: Path, tmp_path: Path, workers: str) -> None:
    process = command(tmp_path, root, "--workers", workers, "--set", "budget.checkpoint_every=0")
    folder = tmp_path / "run"
    wait_for_step(folder, 4)
    process.send_signal(signal.SIGTERM)
    output, error = process.communicate(timeout=200)
    assert process.returncode == 143, error
    assert "preempted at step" in output
    newest = checkpoint.latest(folder / "checkpoints")
    assert newest is not None
    assert 4 <= checkpoint.read_state(newest).step < 24
    process = command(tmp_path, root, "--workers", workers, "--set", "budget.checkpoint_every=0", "--resume")
    output, error = process.communicate(timeout=400)
    assert process.returncode == 0, error
    assert losses(folder) == losses(calm)


def on_nodes(scenario: str, root: Path, folder: Path) -> str:
    """Run a scenario of lost nodes in a process of its own; return how the run ended."""
    program = [sys.executable, str(ROOT / "tests" / "support" / "lose_nodes.py"), scenario, str(root), str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'support'}"
    result = subprocess.run(program, capture_output=True, text=True, timeout=1200, cwd=ROOT, env=environment)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_lost_node_costs_nothing_but_time(calm: Path, root: Path, tmp_path: Path) -> None:
    assert on_nodes("lose_one", root, tmp_path) == "finished"
    assert ids(tmp_path) == ids(calm)
    assert losses(tmp_path) == losses(calm)


@pytest.mark.slow
def test_a_node_that_is_to_be_taken_away_saves_first(root: Path, tmp_path: Path) -> None:
    assert on_nodes("drain_one", root, tmp_path) == "interrupted"
    starts = [batch for batch, before in zip(positions(tmp_path)[1:], positions(tmp_path), strict=False)
              if batch <= before]  # fmt: skip
    # It went on from what was saved on notice, not from the beginning: nothing else was ever saved.
    assert all(batch >= 10 for batch in starts)
    assert list(ids(tmp_path)) == list(range(len(ids(tmp_path))))


def positions(folder: Path) -> list[int]:
    lines = (folder / "consumed.jsonl").read_text().splitlines()
    return [json.loads(line)["position"] // BATCH_SIZE for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(1300)
def test_an_elastic_run_shrinks_and_grows_with_its_nodes(root: Path, tmp_path: Path) -> None:
    assert on_nodes("shrink_and_grow", root, tmp_path) == "interrupted"
    assert sizes_used(tmp_path)[:3] == [1, 2, 1]
    taken = ids(tmp_path)
    newest = checkpoint.latest(tmp_path / "checkpoints")
    assert newest is not None
    assert list(taken) == list(range(checkpoint.read_state(newest).step))
    # The order's own word on what each global batch holds, whatever the number of workers was.
    _, _, training, _ = prepare(long_recipe(root))
    rows = training.order.rows(np.arange(len(taken) * BATCH_SIZE, dtype=np.int64))
    expected = [training.catalog.row(int(row))["sample_id"] for row in rows]
    assert [sample_id for number in sorted(taken) for sample_id in taken[number]] == expected
