"""Jobs on live local heads: one with a token, one open to every interface; each ends with its own processes."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests_support import render_small

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--set", "task.model.preset=micro", "--set", "task.model.image_size=32", "--set", "task.model.resolution=8",
    "--set", "data.prepare.0.resolution=8", "--set", "data.prepare.2.height=32", "--set", "data.prepare.2.width=32",
    "--set", "budget.global_batch_size=12", "--set", "budget.log_every=1", "--set", "budget.checkpoint_every=5",
]  # fmt: skip


@dataclass(frozen=True)
class Head:
    address: str
    environment: dict[str, str]

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ray_jobs", *words], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment | environment,
            # Ctrl-C must reach it also where the tests themselves run in a shell's background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def eventsam(self, *words: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*words, **environment)
        output, error = process.communicate(timeout=200)
        return process.returncode, output, error

    def submit(self, *words: str) -> tuple[int, str, str]:
        return self.eventsam("submit", "--address", self.address, "--python", sys.executable, *words)

    def jobs(self, *words: str) -> str:
        code, output, error = self.eventsam("jobs", *words, "--address", self.address)
        assert code == 0, error
        return output


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for entry in sockets:
        entry.bind(("127.0.0.1", 0))
    ports = [entry.getsockname()[1] for entry in sockets]
    for entry in sockets:
        entry.close()
    return ports


@contextmanager
def running_head(host: str, **started_with: str) -> Iterator[Head]:
    # Ray's sockets have long names in it, and the system allows them 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="esj", dir="/tmp"))
    gcs, dashboard, agent, metrics, client = free_ports(5)
    hidden = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_JOB_HEADERS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=4", f"--port={gcs}",
             "--node-ip-address=127.0.0.1", f"--dashboard-host={host}", f"--dashboard-port={dashboard}",
             f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}",
             f"--ray-client-server-port={client}", "--object-store-memory=200000000", f"--temp-dir={folder / 'ray'}"],
            stdout=log, stderr=log, env=environment | started_with,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{dashboard}"
        wait_for(address, process, folder / "head.log")
        # The user's side is told where the token is, never what it is for.
        token = {name: value for name, value in started_with.items() if name == "RAY_AUTH_TOKEN_PATH"}
        yield Head(address, environment | token)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/api/jobs/", timeout=5):
                return
        except urllib.error.HTTPError as error:
            if error.code == 401:
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"the head did not come up:\n{log.read_text()}")


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(secrets.token_hex(32))
    authentication = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with running_head("127.0.0.1", **authentication, EVENTSAM_CLUSTER_GROWS_TO="CPU=8,GPU=2") as found:
        yield found


def wait_until_running(head: Head, name: str) -> None:
    deadline = time.monotonic() + 120
    while "Running entrypoint" not in head.jobs("logs", name):
        assert time.monotonic() < deadline, head.jobs("status", name)
        time.sleep(0.5)


def test_a_job_trains_and_its_log_and_exit_code_come_back(head: Head, tmp_path: Path) -> None:
    root = render_small(tmp_path / "catalog", 6)
    code, output, error = head.submit(
        "--json", str(tmp_path / "job.json"), "--env", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S=0.1",
        "--", "train", "reconstruct", "--runs", str(tmp_path / "runs"), "--name", "job",
        "--set", f"data.root={root}", "--set", "budget.num_samples=60", *SMALL,
    )  # fmt: skip
    assert code == 0, output + error
    assert "finished at step 5" in output
    assert "uploading" in error
    assert (tmp_path / "runs" / "job" / "checkpoints").is_dir()
    assert json.loads((tmp_path / "job.json").read_text())["exit_code"] == 0


def test_bad_input_comes_back_as_exit_code_two(head: Head, tmp_path: Path) -> None:
    code, output, error = head.submit("--", "report", str(tmp_path / "nothing"))
    assert code == 2, error
    assert "holds neither a demo's report nor a run's metrics.jsonl" in output


def test_what_the_head_says_of_its_autoscaler_reaches_a_job(head: Head, tmp_path: Path) -> None:
    root = render_small(tmp_path / "catalog", 6)
    words = ("train", "reconstruct", "--runs", str(tmp_path / "runs"), "--set", f"data.root={root}", *SMALL)
    code, output, error = head.submit("--", *words, "--workers", "3", "--gpus-per-worker", "1")
    assert code == 2, output + error
    assert "3 workers x 1 GPU = 3 GPUs, but the cluster has 0 and grows to 2" in output


def test_other_versions_than_pinned_stop_the_job(head: Head) -> None:
    code, output, _ = head.submit("--env", "EVENTSAM_PINS=numpy==0.0.1", "--", "catalog", "list")
    assert code == 2
    assert "pinned to 0.0.1" in output
    assert "sensor:" not in output


def test_without_the_token_nothing_is_let_in(head: Head) -> None:
    wrong = head.eventsam("submit", "--address", head.address, "--", "catalog", "list", RAY_AUTH_TOKEN="wrong")
    assert wrong[0] == 2
    assert "does not accept the token" in wrong[2]
    none = head.eventsam("jobs", "status", "--address", head.address, RAY_AUTH_TOKEN_PATH="/nowhere/token")
    assert none[0] == 2
    assert "asks for a token and there is none here" in none[2]


def test_no_wait_status_logs_and_stop(head: Head, tmp_path: Path) -> None:
    root = render_small(tmp_path / "catalog", 6)
    code, output, error = head.submit(
        "--no-wait", "--name", "long", "--", "train", "reconstruct", "--runs", str(tmp_path / "runs"), "--name", "long",
        "--set", f"data.root={root}", "--set", "budget.num_samples=1200000", *SMALL,
    )  # fmt: skip
    assert code == 0, error
    assert "eventsam jobs logs long --follow" in output
    wait_until_running(head, "long")
    assert "status: RUNNING" in head.jobs("status", "long")
    follower = head.start("jobs", "logs", "long", "--follow", "--address", head.address)
    assert follower.stdout is not None
    assert "Running entrypoint for job long" in follower.stdout.readline() + follower.stdout.readline()
    follower.send_signal(signal.SIGINT)
    _, error = follower.communicate(timeout=60)
    assert follower.returncode == 130
    assert "long goes on" in error
    assert "status: RUNNING" in head.jobs("status", "long")
    assert head.jobs("stop", "long") == "long: STOPPED\n"
    assert "STOPPED" in head.jobs("status")


def test_a_dashboard_open_to_everybody_is_refused() -> None:
    with running_head("0.0.0.0", RAY_AUTH_MODE="disabled") as head:
        code, _, error = head.submit("--", "catalog", "list")
        assert code == 2
        assert "without authentication" in error
        assert "listens on" in error
        assert "RAY_AUTH_MODE=token" in error
        assert head.jobs("status") == "0 jobs\n"
        code, output, error = head.submit("--allow-open-dashboard", "--", "catalog", "list")
        assert code == 0, error
        assert "warning:" in error
        assert "synthetic" in output
