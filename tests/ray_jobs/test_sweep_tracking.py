"""A sweep in MLflow, also after a driver that was killed."""

from pathlib import Path

from mlflow import MlflowClient
from sweep_support import small_space
from tests_support import small_recipe

from ray_jobs.sweep_plan import SweepOptions, make_plan
from ray_jobs.sweep_store import FAILED, FINISHED, SweepFolder, TrialState
from ray_jobs.sweep_tracking import SweepTracking
from ray_jobs.tracked import Tracking


def test_trials_that_ended_under_a_killed_driver_are_told_by_the_next(tmp_path: Path) -> None:
    plan = make_plan("reconstruct", small_recipe("reconstruct", tmp_path), small_space(), SweepOptions(search="grid"))
    folder = SweepFolder(tmp_path / "runs" / "sweep")
    for point, status in zip(plan.trials, (FINISHED, FAILED, "running", "waiting"), strict=True):
        trial = folder.trial(point.name)
        trial.write_point(point.values)
        trial.log.append({"step": 2.0, "score": 0.25})
        cause = "no gradient" if status == FAILED else ""
        trial.write_state(TrialState(status, point.values, 24, 0.25, cause=cause))
    for _ in range(2):  # and told once, however often the sweep is taken up
        SweepTracking(Tracking("sweeps"), plan, folder).finish("FINISHED", {}, None)
    client = MlflowClient(f"sqlite:///{folder.path.parent}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'sweeps'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {
        "sweep": "FINISHED", "p000": "FINISHED", "p001": "FAILED",
    }  # fmt: skip
    assert runs["p001"].data.tags["sweep.cause"] == "no gradient"
    assert len(client.get_metric_history(runs["p000"].info.run_id, "score")) == 1
