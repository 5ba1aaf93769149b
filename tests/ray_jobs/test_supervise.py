"""A training from outside: what its MLflow run holds at the end, and after a refusal."""

import logging
import signal
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests_support import render_small, small_recipe

from eventsam.checkpoint import CheckpointWriteError
from eventsam.metrics_log import MetricsLog
from eventsam.recipe import load_recipe
from eventsam.spec import replace
from eventsam.tracking.card import default_uri
from eventsam.tracking.mirror import MlflowMirror
from ray_jobs.cluster import Resources
from ray_jobs.supervise import _watched, train
from ray_jobs.termination import STOP_FILE
from ray_jobs.tracked import Tracking


def test_control_c_while_the_launch_begins_is_not_lost(tmp_path: Path) -> None:
    """A launch takes away the stop file of an earlier one, and this one's if it came a moment too soon."""
    stop, main = tmp_path / STOP_FILE, threading.main_thread()
    assert main.ident is not None

    def run() -> str:
        time.sleep(0.3)
        signal.pthread_kill(main.ident, signal.SIGINT)
        for _ in range(2):
            deadline = time.monotonic() + 20
            while not stop.exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            asked = stop.read_text()
            stop.unlink()
        return asked

    assert _watched(run, tmp_path, 1) == "interrupted"


def test_a_folder_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recipe = replace(load_recipe("reconstruct"), "data.root", str(tmp_path))
    with pytest.raises(CheckpointWriteError, match=r"the run's folder .*/file/runs/a cannot be written"):
        train(recipe, tmp_path / "file" / "runs" / "a", Resources(0), Tracking())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("local_ray")
def test_a_run_in_mlflow_from_start_to_end_and_after_a_refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="eventsam.tracking")
    root, runs = render_small(tmp_path / "catalog", 6), tmp_path / "runs"
    recipe = replace(small_recipe("reconstruct", root), "budget.num_samples", 48)
    owing = MlflowMirror(runs / "owing", default_uri(runs), "eventsam", tags={}, parameters={}, artifacts=runs)
    owing.finish("FINISHED")
    owing.metrics_log.append({"step": 1, "loss": 1.0})
    outcome = train(recipe, runs / "a", Resources(0, threads_per_worker=1), Tracking(register="tiny"))
    client = MlflowClient(default_uri(runs), default_uri(runs))
    (version,) = client.search_model_versions("name = 'tiny'")
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    tags = run.data.tags
    assert tags["recipe"] == "reconstruct"
    assert tags["checkpoint.best"] == str(outcome.best)
    assert tags["catalog_hash"] == outcome.catalog_hash
    assert "| `task.model.preset` | tiny | micro |" in tags["mlflow.note.content"]
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 4]
    assert {"system/cpu_utilization_percentage", "system/object_store_used_megabytes", "data_wait_share", "best/viou",
            "samples_per_s"} <= run.data.metrics.keys()  # fmt: skip
    assert [item.path for item in client.list_artifacts(run.info.run_id, "figures")] == ["figures/curves.png"]
    kept = {item.path for item in client.list_artifacts(run.info.run_id, "checkpoint")}
    assert {"checkpoint/model.safetensors", "checkpoint/state.json"} <= kept
    assert not owing.waiting
    # Going on with another recipe is refused, and leaves the finished run as it is.
    with pytest.raises(ValueError, match="another recipe"):
        train(replace(recipe, "optimizer.learning_rate", 1e-5), runs / "a", Resources(0), Tracking())
    again = client.get_run(run.info.run_id)
    assert again.info.status == "FINISHED"
    assert "error" not in again.data.tags
    with pytest.raises(KeyError, match="did you mean"):
        train(replace(recipe, "data.dataset", "sintetic"), runs / "b", Resources(0), Tracking())
    (failed,) = client.search_runs(["1"], "attributes.run_name = 'b'")
    assert failed.info.status == "FAILED"
    assert "did you mean 'synthetic'" in failed.data.tags["error"]
    assert MetricsLog(runs / "b" / "metrics.jsonl").newest() is None
