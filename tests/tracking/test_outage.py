"""A tracking server that is away: nothing waits for it, nothing is lost, and what waits is sent in order later."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from eventsam.tracking.catch_up import catch_up, start_catching_up
from eventsam.tracking.mirror import MlflowMirror

OpenRun = Callable[..., MlflowMirror]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def steps(client: MlflowClient, mirror: MlflowMirror, key: str = "loss") -> list[int]:
    assert mirror.run_id is not None
    return [metric.step for metric in client.get_metric_history(mirror.run_id, key)]


def test_a_refusing_server_stalls_nothing_and_the_run_is_replayed_elsewhere(
    open_run: OpenRun, store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        mirror = open_run(uri=f"http://127.0.0.1:{free_port()}")
        for step in range(1, 2001):
            mirror.metrics_log.append({"step": step, "loss": 1.0 / step})
        mirror.picture("a.png", b"\x89PNG", tmp_path / "figures")
        mirror.finish("FINISHED", timeout_s=30)
    assert time.monotonic() - started < 10
    assert "did not answer" in caplog.text
    assert "2000 records and 3 other entries wait" in caplog.text
    assert f"eventsam track {mirror.folder}" in caplog.text
    caught = catch_up(mirror.folder, store)
    assert not caught.left
    client = MlflowClient(store)
    assert [m.step for m in client.get_metric_history(caught.run_id, "loss")] == list(range(1, 2001))
    run = client.get_run(caught.run_id)
    assert run.info.status == "FINISHED"
    # The end is when the run ended, not when the server heard of it.
    assert run.info.end_time / 1000 < time.time()
    assert run.info.start_time < run.info.end_time


def test_a_server_that_takes_calls_and_never_answers_is_left_in_time(open_run: OpenRun) -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mirror = open_run(uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        mirror.metrics_log.append({"step": 1, "loss": 1.0})
        started = time.monotonic()
        mirror.finish("FINISHED", timeout_s=1.0)
        assert time.monotonic() - started < 2.5
        assert mirror.waiting.num_records == 1


def test_the_next_run_sends_what_its_neighbours_owe(open_run: OpenRun, store: str) -> None:
    owing = open_run("owing")
    owing.finish("FINISHED")
    owing.metrics_log.append({"step": 7, "loss": 0.5})
    other = open_run("next")
    start_catching_up(other.folder.parent, store, other.folder).join(30)
    other.finish("FINISHED")
    assert steps(MlflowClient(store), owing) == [7]


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """A real server, ended with all of its own processes."""
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
               "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
               "--artifacts-destination", str(folder)]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not _answers(uri):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_real_server_stopped_and_started_gets_every_record_once_in_order(
    open_run: OpenRun, empty_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    folder, port = tmp_path / "server", free_port()
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    with mlflow_server(folder, port) as uri:
        mirror = open_run(uri=uri, artifacts=None)
        for step in range(1, 21):
            mirror.metrics_log.append({"step": step, "loss": float(step)})
        wait_until(lambda: mirror.run_id is not None and not mirror.waiting)
    started = time.monotonic()
    for step in range(21, 41):
        mirror.metrics_log.append({"step": step, "loss": float(step)})
    mirror.picture("a.png", b"\x89PNG", tmp_path / "figures")
    assert time.monotonic() - started < 1
    wait_until(lambda: "did not answer" in caplog.text)
    with mlflow_server(folder, port) as uri:
        wait_until(lambda: not mirror.waiting)
        client = MlflowClient(uri)
        assert steps(client, mirror) == list(range(1, 41))
        assert [item.path for item in client.list_artifacts(mirror.run_id, "figures")] == ["figures/a.png"]
        mirror.register("fused", tmp_path / "figures")
        wait_until(lambda: not mirror.waiting)
        assert [version.run_id for version in client.search_model_versions("name = 'fused'")] == [mirror.run_id]
    mirror.metrics_log.append({"step": 41, "loss": 41.0})
    started = time.monotonic()
    mirror.finish("FINISHED", timeout_s=20)
    assert time.monotonic() - started < 21
    assert "1 records and 1 other entries wait" in caplog.text
    with mlflow_server(folder, port) as uri:
        assert not catch_up(mirror.folder).left
        client = MlflowClient(uri)
        assert steps(client, mirror) == list(range(1, 42))
        assert client.get_run(mirror.run_id).info.status == "FINISHED"
