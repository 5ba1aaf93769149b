"""MLflow mirrors the run's log: one run across restarts, nothing lost while the server is away."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from eventsam.metrics_log import MetricsLog
from eventsam.tracking import MlflowMirror, default_uri


def mirror(folder: Path, name: str = "run", **tags: str) -> MlflowMirror:
    return MlflowMirror(
        default_uri(folder),
        "tests",
        name,
        MetricsLog(folder / "metrics.jsonl"),
        resume_key=f"{folder}/{name}",
        tags=tags,
        parameters={"task": "Fuse", "task.blocks": [2, 5]},
        artifacts=folder / "artifacts",
    )


def history(opened: MlflowMirror, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in opened.client.get_metric_history(opened.run_id, key)]


def test_log_reads_back_with_later_records_winning(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    for record in ({"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}, {"step": 2, "loss": 1.0, "val/m": 5.0}):
        log.append(record)
    assert [{k: v for k, v in record.items() if k != "time"} for record in log.read()] == [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": 1.0, "val/m": 5.0},
    ]
    newest = log.newest()
    assert newest is not None
    assert newest["val/m"] == 5.0


def test_a_half_written_line_waits(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    log.append({"step": 1, "loss": 3.0})
    with log.path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert [record["step"] for record in log.read()] == [1]


def test_one_run_across_restarts(tmp_path: Path) -> None:
    first = mirror(tmp_path, code_hash="a")
    first.metrics_log.append({"step": 1, "loss": 3.0})
    first.finish("FAILED")
    second = mirror(tmp_path, code_hash="b")
    second.metrics_log.append({"step": 2, "loss": 2.0})
    second.finish("FINISHED")
    assert first.run_id == second.run_id
    assert history(second, "loss") == [(1, 3.0), (2, 2.0)]
    run = MlflowClient(default_uri(tmp_path)).get_run(second.run_id)
    assert run.data.params["task.blocks"] == "[2, 5]"
    assert run.data.tags["code_hash"] == "b"
    assert run.info.status == "FINISHED"


def test_a_server_that_was_away_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = mirror(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(away.client, "log_batch", refuse)
        away.metrics_log.append({"step": 1, "loss": 3.0})
        away.finish("FINISHED", timeout_s=5)
    again = mirror(tmp_path)
    again.finish("FINISHED")
    assert history(again, "loss") == [(1, 3.0)]


def test_pictures_and_folders_are_kept(tmp_path: Path) -> None:
    opened = mirror(tmp_path)
    opened.picture("a.png", b"\x89PNG", tmp_path / "figures")
    opened.finish("FINISHED")
    assert [item.path for item in opened.client.list_artifacts(opened.run_id, "figures")] == ["figures/a.png"]
