"""Pins: where they come from, what differs, and what the job says before it starts."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ray_jobs import pinned

ROOT = Path(__file__).resolve().parents[2]


def test_constraints_decide_and_the_environment_fills_in(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n'
        'dependencies = ["NumPy>=2", "ray[data,train]>=2", "typer ; python_version > \'3\'", "no-such"]'
    )
    (tmp_path / "constraints.txt").write_text("numpy==1.2.3  # why\nmypy==9\n\nray == 0.1 ; sys_platform == 'linux'\n")
    here = importlib.metadata.version("typer")
    assert pinned.pins(tmp_path) == {"numpy": "1.2.3", "ray": "0.1", "typer": here}


def test_the_project_pins_every_dependency_and_no_tool() -> None:
    found = pinned.pins(ROOT)
    assert {"torch", "ray", "mlflow", "opencv-python-headless"} <= found.keys()
    assert "ruff" not in found
    assert pinned.from_words(pinned.to_words(found)) == found


def test_builds_for_other_machines_are_the_same_release(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2.11.0+cpu", "numpy": "2.4.1"}

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert pinned.differences({"torch": "2.11.0+cu130", "numpy": "2.4.1"}) == []
    assert pinned.differences({"torch": "2.12.0", "timm": "1.0"}) == [
        "torch: 2.11.0+cpu installed, pinned to 2.12.0",
        "timm: not installed, pinned to 1.0",
    ]


@pytest.mark.parametrize(("words", "code"), [("", 0), ("numpy==0.0.1", 2)])
def test_the_job_compares_before_it_starts(words: str, code: int) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "ray_jobs.pinned"], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, pinned.VARIABLE: words},
    )  # fmt: skip
    assert result.returncode == code
    assert ("numpy" in result.stderr and "--packages install" in result.stderr) == bool(code)
