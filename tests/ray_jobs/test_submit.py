"""Submitted commands: what is refused before anything is sent, what is sent, how log and exit code come back."""

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboard_support import DashboardStandIn, serving
from typer.testing import CliRunner, Result

from ray_jobs import dashboard, pinned
from ray_jobs.__main__ import app
from ray_jobs.submit import Follower

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[DashboardStandIn]:
    for name in ("RAY_ADDRESS", "RAY_JOB_HEADERS", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving(DashboardStandIn()) as stand_in:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", stand_in.address)
        yield stand_in


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def submit(*words: str) -> Result:
    return run("submit", "--working-dir", str(ROOT), *words)


def test_what_is_sent(cluster: DashboardStandIn, tmp_path: Path) -> None:
    result = submit("--env", "NCCL_DEBUG=INFO", "--name", "first", "--json", str(tmp_path / "out.json"),
                    "--", "train", "reconstruct", "--runs", "/shared/my runs", "--set", "data.root=/d")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "one\ntwo\nthree\n" in result.output
    (sent,) = cluster.submitted
    assert sent["entrypoint"] == (
        "python -m ray_jobs.pinned && exec python -m ray_jobs train reconstruct --runs '/shared/my runs' "
        "--set data.root=/d"
    )
    variables = sent["runtime_env"]["env_vars"]
    assert variables["NCCL_DEBUG"] == "INFO"
    assert variables["RAY_AUTH_MODE"] == "disabled"
    assert pinned.from_words(variables[pinned.VARIABLE]) == pinned.pins(ROOT)
    (archive,) = cluster.packages.values()
    names = zipfile.ZipFile(io.BytesIO(archive)).namelist()
    assert {"ray_jobs/__main__.py", "constraints.txt", "eventsam/spec.py"} <= set(names)
    assert not [name for name in names if name.startswith((".git/", ".venv/")) or "__pycache__" in name]
    assert json.loads((tmp_path / "out.json").read_text())["status"] == "SUCCEEDED"
    again = submit("--name", "first", "--", "catalog", "list")
    assert isinstance(again.exception, ValueError)
    assert "'first' was submitted to this cluster before" in str(again.exception)


def test_packages_are_installed_where_asked(cluster: DashboardStandIn) -> None:
    assert submit("--packages", "install", "--no-wait", "--", "catalog", "list").exit_code == 0
    (sent,) = cluster.submitted
    words = sent["runtime_env"]["pip"]["packages"]
    assert f"numpy=={pinned.pins(ROOT)['numpy']}" in words
    assert not [word for word in words if word.startswith("ray==")]
    assert "ray_jobs.pinned" not in sent["entrypoint"]
    refused = submit("--packages", "instal", "--", "catalog", "list")
    assert "did you mean 'install'" in str(refused.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trian", "fuse"), "unknown command for a job 'trian'; did you mean 'train'"),
        (("submit", "--", "train"), "unknown command for a job 'submit'"),
        (("catalog", "lits"), "did you mean 'list'"),
        (("train", "fues", "--runs", "/r"), "did you mean 'fuse'"),
        (("train", "fuse", "--runs", "/r", "--set", "budget.num_sample=3"), "did you mean 'num_samples'"),
        (("train", "reconstruct", "--runs", "/r"), "leaves values to you: --set data.root=VALUE"),
        (("train", "reconstruct", "--set", "data.root=/d"), "--runs runs would lie in the job's own folder"),
        (("train", "reconstruct", "--runs", "s3://b/runs", "--set", "data.root=/d"), "--runs s3:/b/runs would lie in"),
        (("train", "reconstruct", "--runs", "/r", "--set", "data.root=catalogs"), "--set data.root catalogs would lie"),
        (
            ("train", "reconstruct", "--runs", "/r", "--checkpoints", "kept", "--set", "data.root=/d"),
            "--checkpoints kept",
        ),
        (("compare", "/shared/runs/a", "runs/b"), "--run runs/b"),
        (("chaos", "reconstruct"), "unknown command for a job 'chaos'"),
    ],
)
def test_nonsense_is_refused_before_anything_is_sent(
    cluster: DashboardStandIn, words: tuple[str, ...], message: str
) -> None:
    result = submit("--", *words)
    assert result.exit_code != 0
    assert message in str(result.exception)
    assert cluster.authorizations == []


def test_a_sweep_goes_on_and_checkpoints_go_to_a_bucket(cluster: DashboardStandIn) -> None:
    assert submit("--no-wait", "--", "sweep", "--resume", "designs", "--runs", "/shared/runs").exit_code == 0
    words = ("train", "reconstruct", "--runs", "/r", "--checkpoints", "s3://bucket/kept", "--set", "data.root=/d")
    assert submit("--no-wait", "--", *words).exit_code == 0
    assert cluster.submitted[1]["entrypoint"].endswith("--checkpoints s3://bucket/kept --set data.root=/d")


def test_names_are_safe_for_files(cluster: DashboardStandIn) -> None:
    assert "is no job's name" in str(submit("--name", "a/b", "--", "catalog", "list").exception)
    assert submit("--no-wait", "--", "report", "/shared/runs/fused").exit_code == 0
    assert re.fullmatch(r"report-\d{8}-\d{6}-[0-9a-f]{4}", cluster.submitted[0]["submission_id"])


def test_unknown_options_are_usage_errors(cluster: DashboardStandIn) -> None:
    result = submit("--", "train", "fuse", "--nme", "x")
    assert result.exit_code == 2
    assert "--nme" in result.output
    assert cluster.submitted == []


def test_paths_in_the_package_are_fine(cluster: DashboardStandIn) -> None:
    assert submit("--no-wait", "--", "report", "tests/ray_jobs").exit_code == 0
    (sent,) = cluster.submitted
    assert sent["entrypoint"].endswith("report tests/ray_jobs")


def test_a_folder_without_the_project_is_refused(cluster: DashboardStandIn, tmp_path: Path) -> None:
    result = run("submit", "--working-dir", str(tmp_path), "--", "catalog", "list")
    assert "does not hold ray_jobs/__main__.py" in str(result.exception)
    assert run("submit", "--installed", "--no-wait", "--", "catalog", "list").exit_code == 0
    assert "working_dir" not in cluster.submitted[0]["runtime_env"]


def test_too_large_is_refused_before_anything_is_sent(cluster: DashboardStandIn) -> None:
    result = submit("--max-upload-mib", "0.1", "--", "catalog", "list")
    assert "MiB  eventsam/" in str(result.exception)
    assert cluster.authorizations == []


def test_an_open_dashboard_is_refused_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with serving(DashboardStandIn(), "0.0.0.0") as stand_in:
        words = ("--address", stand_in.address, "--no-wait")
        assert "without authentication" in str(submit(*words, "--", "catalog", "list").exception)
        assert stand_in.submitted == []
        result = submit(*words, "--allow-open-dashboard", "--", "catalog", "list")
        assert result.exit_code == 0
        assert "warning:" in result.output


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ({"status": "FAILED", "driver_exit_code": 3}, 3),
        ({"status": "FAILED", "driver_exit_code": -9}, 137),
        ({"status": "FAILED", "driver_exit_code": None, "message": "no such package"}, 1),
        ({"status": "STOPPED", "driver_exit_code": None}, 130),
    ],
)
def test_the_jobs_end_is_the_commands(cluster: DashboardStandIn, ends: dict[str, object], code: int) -> None:
    cluster.ends = ends
    result = submit("--", "catalog", "list")
    assert result.exit_code == code
    assert ("it never started: no such package" in result.output) == ("message" in ends)


def test_broken_connections_lose_and_repeat_nothing(cluster: DashboardStandIn) -> None:
    cluster.breaks = [2, 0, 1]
    assert submit("--no-wait", "--name", "job", "--", "catalog", "list").exit_code == 0
    client = dashboard.jobs_client(dashboard.probe(cluster.address))
    written: list[str] = []
    assert Follower(client, "job", written.append)().status == "SUCCEEDED"
    assert "".join(written) == "one\ntwo\nthree\n"
    assert cluster.breaks == []


def test_a_dashboard_that_stays_away_is_given_up(cluster: DashboardStandIn) -> None:
    assert submit("--no-wait", "--name", "job", "--", "catalog", "list").exit_code == 0
    client = dashboard.jobs_client(dashboard.probe(cluster.address))
    client._address = "http://127.0.0.1:1"
    with pytest.raises(ConnectionError, match="job may well go on: eventsam jobs logs job --follow"):
        Follower(client, "job", print, lost_after_s=0.6)()


def test_status_logs_and_stop(cluster: DashboardStandIn, tmp_path: Path) -> None:
    assert submit("--no-wait", "--name", "job", "--", "catalog", "list").exit_code == 0
    assert "RUNNING    2023-11-14 22:13:20Z job  catalog list" in run("jobs", "status").output
    assert "did you mean 'job'" in str(run("jobs", "status", "jbo").exception)
    assert run("jobs", "logs", "job").output == "one\ntwo\nthree\n"
    assert run("jobs", "stop", "job").output == "job: STOPPED\n"
    assert run("jobs", "status", "job", "--json", str(tmp_path / "s.json")).exit_code == 0
    assert json.loads((tmp_path / "s.json").read_text())["status"] == "STOPPED"


def test_the_tracking_server_goes_along_without_a_password(
    cluster: DashboardStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uri in ("http://mlflow:5000", "http://me:secret@mlflow:5000", "sqlite:////here/mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert submit("--no-wait", "--", "catalog", "list").exit_code == 0
    assert submit("--no-wait", "--env", "MLFLOW_TRACKING_URI=http://b", "--", "catalog", "list").exit_code == 0
    sent = [job["runtime_env"]["env_vars"].get("MLFLOW_TRACKING_URI") for job in cluster.submitted]
    assert sent == ["http://mlflow:5000", None, None, "http://b"]


def test_variables_need_values(cluster: DashboardStandIn) -> None:
    assert "write --env NAME=VALUE" in str(submit("--env", "NAME", "--", "catalog", "list").exception)
    assert os.environ["RAY_API_SERVER_ADDRESS"] == cluster.address
