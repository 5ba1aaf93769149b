"""Faults under Ray Train: damaged samples, a worker that stands still, and NaN, each on a real local Ray."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import typer
from damaged_shards import damage_image
from tests_support import render_small, small_recipe
from typer.testing import CliRunner

from eventsam import quarantine
from eventsam.engine import NonFiniteLossError
from eventsam.faults.bundle import newest_bundle, read_bundle
from eventsam.faults.step_watch import Watching
from eventsam.metrics_log import MetricsLog
from eventsam.spec import Spec, replace
from ray_jobs.audit import consumed
from ray_jobs.chaos import training_workers
from ray_jobs.cluster import Resources
from ray_jobs.repro_command import repro
from ray_jobs.retry import Retries
from ray_jobs.train import Keeping, launch

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("local_ray")]

ONE, TWO = Resources(threads_per_worker=1), Resources(2, 0.5, threads_per_worker=1)
AUDIT = Keeping(audit=True)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog in which one sharp image of every third shard cannot be read."""
    root = render_small(tmp_path_factory.mktemp("damaged"), 8)
    for shard in sorted(root.rglob("*.h5"))[::3]:
        damage_image(shard, 0, 0)
    return root


def tolerant(root: Path, **changes: object) -> Spec:
    return small_recipe("reconstruct", root, **{"data.max_bad_share": 0.4, **changes})


def losses(folder: Path) -> dict[int, float]:
    return {int(r["step"]): r["loss"] for r in MetricsLog(folder / "metrics.jsonl").read() if "loss" in r}


@pytest.fixture(scope="module")
def calm(damaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One worker on the damaged catalog."""
    folder = tmp_path_factory.mktemp("calm")
    assert launch(tolerant(damaged), folder, ONE, keeping=AUDIT).status == "finished"
    return folder


@pytest.mark.timeout(600)
def test_bad_samples_are_left_out_counted_and_listed(calm: Path) -> None:
    listed = json.loads((calm / "quarantine.json").read_text())["samples"]
    bad = {sample["sample_id"] for sample in listed}
    assert bad
    assert all(sample["reason"] for sample in listed)
    taken = {sample_id for ids in consumed(calm, 12).values() for sample_id in ids}
    assert not taken & bad
    assert set(quarantine.counts(calm)) <= {"training", "validation"}


@pytest.mark.timeout(600)
def test_a_worker_that_stands_still_is_found_and_all_start_again(calm: Path, damaged: Path, tmp_path: Path) -> None:
    """The second of two workers is stopped as a whole, as by a driver that hangs: it cannot even say so itself."""
    stopped: list[int] = []

    def stop() -> None:
        while not stopped:
            if max(losses(tmp_path), default=0) >= 4:
                for worker in training_workers()[1:2]:
                    os.kill(worker.pid, signal.SIGSTOP)
                    stopped.append(worker.pid)
            time.sleep(0.02)

    threading.Thread(target=stop, daemon=True).start()
    # As slow as a busy machine may be in starting its stream, and faster than the test's patience.
    watching = Watching(hang_minutes=0.4, least_step_s=0.3)
    outcome = launch(tolerant(damaged), tmp_path, TWO, keeping=AUDIT, watching=watching)
    assert stopped
    assert outcome.status == "finished"
    (bundle,) = (tmp_path / "failures").glob("*_hang")
    record = json.loads((bundle / "bundle.json").read_text())
    assert "of 2 has finished no step for" in record["message"]
    assert "Thread" in next(bundle.glob("rank_*.stacks.txt")).read_text()
    # Neither the hang, nor the restart, nor the second worker changed which samples came when.
    assert consumed(tmp_path, 12) == consumed(calm, 12)
    assert losses(tmp_path) == pytest.approx(losses(calm), rel=2e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_a_share_the_run_ends_at_once_and_names_the_sample(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sample 'procedural-.*data.max_bad_share") as caught:
        launch(tolerant(damaged, **{"data.max_bad_share": 0.0}), tmp_path, TWO, retries=Retries(restarts=1))
    assert len(str(caught.value)) < 1000
    assert newest_bundle(tmp_path) is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nan_leaves_a_bundle_that_repro_replays(damaged: Path, tmp_path: Path) -> None:
    recipe = replace(tolerant(damaged), "optimizer.learning_rate", float("inf"))
    with pytest.raises(NonFiniteLossError, match=r"at step \d+ .*samples: procedural-"):
        launch(recipe, tmp_path, TWO)
    bundle = newest_bundle(tmp_path)
    assert bundle is not None
    assert [len(share.sample_ids) for share in read_bundle(bundle).shares] == [6, 6]
    app = typer.Typer()
    app.command()(repro)
    result = CliRunner().invoke(app, [str(tmp_path), "--json", str(tmp_path / "repro.json")])
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "repro.json").read_text())
    assert said["reproduced"] and said["data_as_then"]
    assert said["weights_not_finite_since_step"] is not None
    assert "reproduced: yes" in result.output
