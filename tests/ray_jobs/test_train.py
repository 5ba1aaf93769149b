"""Ray Train launches: the three stages, a killed worker, NaN, interruption, and refusals before anything starts."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from tests_support import render_small, small_recipe

from eventsam.engine import NonFiniteLossError
from eventsam.faults.step_watch import Watching
from eventsam.metrics_log import MetricsLog
from eventsam.spec import from_json, get, replace
from ray_jobs.cluster import Resources
from ray_jobs.termination import STOP_FILE
from ray_jobs.train import Keeping, launch
from ray_jobs.worker import _unshared

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

ONE = Resources(threads_per_worker=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("train"), 8)


def losses(folder: Path) -> dict[int, float]:
    records = MetricsLog(folder / "metrics.jsonl").read()
    return {int(record["step"]): record["loss"] for record in records if "loss" in record}


def training_workers() -> list[psutil.Process]:
    """The processes of Ray Train workers that belong to this test."""
    me = psutil.Process()
    return [child for child in me.children(recursive=True) if "RayTrainWorker" in " ".join(child.cmdline()[:1])]


@pytest.fixture(scope="module")
def calm(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of stage 0."""
    folder = tmp_path_factory.mktemp("calm")
    outcome = launch(small_recipe("reconstruct", root), folder, ONE)
    assert outcome.status == "finished"
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_stages_build_on_each_other(calm: Path, root: Path, tmp_path: Path) -> None:
    assert sorted(losses(calm)) == list(range(1, 9))
    distill = small_recipe("distill", root, **{"task.teacher.checkpoint": str(calm)})
    distilled = launch(distill, tmp_path / "distill", ONE)
    assert -1 <= distilled.metrics["cosine"] <= 1
    stages = {"task.reconstructor.checkpoint": str(calm), "task.event_embedder.checkpoint": str(distilled.folder)}
    fuse = small_recipe("fuse", root, **stages)
    fused = launch(fuse, tmp_path / "fuse", ONE)
    assert 0 <= fused.metrics["viou"] <= 1
    names = {name for record in MetricsLog(fused.folder / "metrics.jsonl").read() for name in record}
    assert any(name.startswith("gate/") for name in names)


@pytest.mark.timeout(600)
def test_a_killed_worker_resumes_with_equal_losses(calm: Path, root: Path, tmp_path: Path) -> None:
    recipe = small_recipe("reconstruct", root)
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            if max(losses(tmp_path), default=0) >= 4:
                for worker in training_workers():
                    os.kill(worker.pid, signal.SIGKILL)
                    killed.append(worker.pid)
            time.sleep(0.02)

    threading.Thread(target=kill, daemon=True).start()
    # Slow enough for the kill to fall into the run on any machine.
    outcome = launch(recipe, tmp_path, ONE, watching=Watching(least_step_s=0.3))
    assert killed
    assert outcome.status == "finished"
    assert losses(tmp_path) == losses(calm)
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in logged if "loss" in record]
    assert steps.count(1) == 1  # it went on from a checkpoint
    assert steps.count(4) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_see_the_same_batches_and_nearly_the_same_losses(calm: Path, root: Path, tmp_path: Path) -> None:
    launch(small_recipe("reconstruct", root), tmp_path, Resources(2, 0.5, threads_per_worker=1))
    # The mean of two workers' gradients is the batch's gradient up to the order of summation.
    assert losses(tmp_path) == pytest.approx(losses(calm), rel=2e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stopped_run_goes_on_with_equal_losses(calm: Path, root: Path, tmp_path: Path) -> None:
    recipe = small_recipe("reconstruct", root)

    def stop() -> None:
        while max(losses(tmp_path), default=0) < 3:
            time.sleep(0.02)
        (tmp_path / STOP_FILE).touch()

    threading.Thread(target=stop, daemon=True).start()
    outcome = launch(recipe, tmp_path, ONE)
    assert outcome.status == "interrupted"
    assert outcome.checkpoint.exists()
    assert launch(recipe, tmp_path, ONE).status == "finished"
    assert losses(tmp_path) == losses(calm)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nan_stops_the_run_with_step_and_samples(root: Path, tmp_path: Path) -> None:
    recipe = replace(small_recipe("reconstruct", root), "optimizer.learning_rate", float("inf"))
    with pytest.raises(NonFiniteLossError, match=r"at step \d+ .*samples: procedural-"):
        launch(recipe, tmp_path, ONE)


def test_more_workers_than_the_cluster_holds_are_refused_with_the_sum(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"64 workers x 1 CPU \+ 1 CPU for reading = 65 CPUs"):
        launch(small_recipe("reconstruct", root), tmp_path, Resources(64))


def test_unequal_shares_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="global_batch_size 12 cannot be shared equally by 5"):
        launch(small_recipe("reconstruct", root), tmp_path, Resources(5, 0.1))


@pytest.mark.parametrize(
    ("has_checkpoints", "expected", "message"),
    [
        (True, "none", r"checkpoints holds the checkpoints of a run already, up to step_000000008"),
        (False, "some", r"--resume: .*checkpoints holds no checkpoints to go on from"),
    ],
)
def test_two_runs_of_one_name_are_not_mixed_and_nothing_is_begun_for_a_resume(
    calm: Path, root: Path, tmp_path: Path, has_checkpoints: bool, expected: Any, message: str
) -> None:
    keeping = Keeping(str(calm / "checkpoints") if has_checkpoints else None, expected=expected)
    with pytest.raises(ValueError, match=message):
        launch(small_recipe("reconstruct", root), tmp_path / "b", ONE, keeping=keeping)
    assert not (tmp_path / "b" / "metrics.jsonl").exists()


def test_ray_trains_own_processes_are_spared_the_models() -> None:
    """What is sent to them names these modules; timm and torchvision take seconds of a core to import."""
    code = (
        "import ray_jobs.elastic, ray_jobs.streams, ray_jobs.termination, sys\n"
        "assert not {'timm', 'torchvision', 'mlflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@dataclasses.dataclass
class Apart:
    """A run of two workers, of which the second has a disk of its own."""

    folder: Path

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return [values, np.zeros_like(values)]


def test_a_folder_that_some_workers_do_not_see_is_said_by_all(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}")
    told = _unshared(Apart(tmp_path))  # type: ignore[arg-type]
    assert told is not None
    assert told["kind"] == "input"
    assert "is not on the machines of workers 1: give --runs a folder that all nodes share" in told["error"]


def test_another_recipes_folder_is_refused(calm: Path, root: Path) -> None:
    other = replace(small_recipe("reconstruct", root), "optimizer.learning_rate", 1e-5)
    with pytest.raises(ValueError, match=r"another recipe:\n  optimizer.learning_rate: 0.002 -> 1e-05"):
        launch(other, calm, ONE)
    # The run that was refused left the folder's own recipe alone.
    kept = from_json(json.loads((calm / "recipe.json").read_text()))
    assert get(kept, "optimizer.learning_rate") == 2e-3


def test_unknown_dataset_is_refused_before_the_launch(root: Path, tmp_path: Path) -> None:
    recipe = replace(small_recipe("reconstruct", root), "data.dataset", "sintetic")
    with pytest.raises(KeyError, match="did you mean 'synthetic'"):
        launch(recipe, tmp_path, ONE)


def test_missing_teacher_is_refused_before_the_launch(root: Path, tmp_path: Path) -> None:
    recipe = small_recipe("distill", root)
    with pytest.raises(ValueError, match=r"task.teacher.checkpoint is required"):
        launch(recipe, tmp_path, ONE)
