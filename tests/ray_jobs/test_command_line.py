"""The command line as a user meets it: help, exit codes, one-line errors, Ctrl-C, submitted jobs."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests_support import render_small
from typer.testing import CliRunner

from eventsam.metrics_log import MetricsLog
from eventsam.recipe import load_recipe
from ray_jobs.__main__ import app, changed, run_folder

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--set", "task.model.preset=micro", "--set", "task.model.image_size=32", "--set", "task.model.resolution=8",
    "--set", "data.prepare.0.resolution=8", "--set", "data.prepare.2.height=32", "--set", "data.prepare.2.width=32",
    "--set", "budget.global_batch_size=12", "--set", "budget.log_every=1", "--set", "budget.checkpoint_every=5",
]  # fmt: skip


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ray_jobs", *arguments],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_small(tmp_path_factory.mktemp("cli"), 6)


@pytest.mark.parametrize("words", ["", "demo", "train", "evaluate", "report", "catalog", "catalog render"])
def test_every_command_has_help(words: str) -> None:
    result = CliRunner().invoke(app, [*words.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_bad_input_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    cases = (
        (("train", "recontruct"), "did you mean 'reconstruct'"),
        (("train", "reconstruct", "--set", "budget.num_sample=3"), "did you mean 'num_samples'"),
        (("report", str(tmp_path)), "holds neither a demo's report nor a run's metrics.jsonl"),
    )
    started = [(command(*arguments), message) for arguments, message in cases]
    for process, message in started:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 2, error
        assert message in error
        assert "Traceback" not in error


def test_changes_without_a_value_are_refused() -> None:
    with pytest.raises(ValueError, match="write --set path=value"):
        changed(load_recipe("reconstruct"), ["budget.num_samples"])


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "recipe.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a run already"):
        run_folder(tmp_path, "a", resume=False)
    with pytest.raises(ValueError, match="there is no run"):
        run_folder(tmp_path, "b", resume=True)


def test_catalog_commands(root: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["catalog", "list"])
    assert "synthetic" in result.output
    assert "davis" in result.output
    result = CliRunner().invoke(app, ["catalog", "show", "synthetic", str(root), "--json", str(tmp_path / "show.json")])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "show.json").read_text())["num_objects"] == 6


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", ["0", "1"])
def test_control_c_saves_and_resume_finishes(root: Path, tmp_path: Path, workers: str) -> None:
    arguments = ("train", "reconstruct", "--set", f"data.root={root}", "--set", "budget.num_samples=1200",
                 "--runs", str(tmp_path), "--name", "cut", "--workers", workers, *SMALL)  # fmt: skip
    process = command(*arguments)
    log = MetricsLog(tmp_path / "cut" / "metrics.jsonl")
    while log.newest() is None and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=200)
    assert process.returncode == 130, error
    assert "interrupted at step" in output
    assert "Traceback" not in error
    step = json.loads(next((tmp_path / "cut" / "checkpoints").glob("step_*/state.json")).read_text())["step"]
    assert 0 < step < 100
    process = command(*arguments, "--resume", "--json", str(tmp_path / "out.json"))
    output, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    assert json.loads((tmp_path / "out.json").read_text())["step"] == 100


@pytest.fixture
def head(tmp_path: Path) -> Iterator[str]:
    """A Ray head with a dashboard, as a cluster has; it ends with its own process, and no other Ray with it."""
    address = "http://127.0.0.1:8299"
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with (tmp_path / "head.log").open("w") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--port=6399", "--num-cpus=4",
             "--dashboard-port=8299", "--object-store-memory=200000000"],
            stdout=log, stderr=log, env=environment,
        )  # fmt: skip
    try:
        _wait_for(f"{address}/api/version", process, tmp_path / "head.log")
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"the head did not come up:\n{log.read_text()}")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_submitted_job_trains_to_the_end(head: str, root: Path, tmp_path: Path) -> None:
    bin_folder = Path(sys.executable).parent
    result = subprocess.run(
        [str(bin_folder / "ray"), "job", "submit", "--address", head, "--working-dir", str(ROOT), "--",
         sys.executable, "-m", "ray_jobs", "train", "reconstruct", "--runs", str(tmp_path), "--name", "job",
         "--set", f"data.root={root}", "--set", "budget.num_samples=60", *SMALL],
        capture_output=True, text=True, timeout=300, env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "finished at step 5" in result.stdout
