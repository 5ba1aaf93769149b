"""The house's direction: ray_jobs -> search_spaces, datasets_catalog -> eventsam, and no ray in the science."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "eventsam": {"eventsam"},
    "datasets_catalog": {"datasets_catalog", "eventsam"},
    "search_spaces": {"search_spaces", "eventsam"},
    "ray_jobs": {"ray_jobs", "datasets_catalog", "search_spaces", "eventsam"},
}
RANKS = (
    (
        "events",
        "windows",
        "sample",
        "spec",
        "order",
        "optim",
        "metrics_log",
        "compiled",
        "provenance",
        "unknown_name",
        "final_error",
    ),
    ("io", "dataset", "representations", "simulate", "transforms", "event_transforms", "models"),
    ("objectives",),
    ("metrics",),
    ("catalog", "loading", "predictions", "quarantine", "targets", "throughput"),
    ("tasks", "checkpoint"),
    ("engine", "faults"),
    ("recipe", "recipes", "tracking", "report", "views", "replay"),
)
FILES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports, at any depth of its code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""}
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    own = {name.split(".")[0] for name in imported(path)} & set(ALLOWED)
    assert own <= ALLOWED[package]
    if package != "ray_jobs":
        assert "ray" not in {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.is_relative_to(ROOT / "eventsam")], ids=lambda path: str(path.name)
)
def test_the_science_is_layered(path: Path) -> None:
    def rank(module: str) -> int | None:
        return next((number for number, names in enumerate(RANKS) if module in names), None)

    own = path.relative_to(ROOT / "eventsam").with_suffix("").parts[0]
    mine = rank(own)
    if mine is None:
        assert own == "__init__"
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "eventsam" and len(parts) > 1 and (theirs := rank(parts[1])) is not None:
            assert theirs <= mine, f"{own} imports {parts[1]}, which lies above it"


def test_the_core_imports_where_ray_is_absent() -> None:
    code = (
        "import sys, pkgutil, importlib\n"
        "class NoRay:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'ray':\n"
        "            raise ImportError('ray is absent')\n"
        "sys.meta_path.insert(0, NoRay())\n"
        "import eventsam, datasets_catalog\n"
        "for package in (eventsam, datasets_catalog):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "print('whole')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=200)
    assert result.stdout.strip() == "whole", result.stderr


def test_no_file_is_left_out_of_the_ranks() -> None:
    known = {name for names in RANKS for name in names} | {"__init__", "__pycache__"}
    assert {path.stem if path.is_file() else path.name for path in (ROOT / "eventsam").iterdir()} <= known
