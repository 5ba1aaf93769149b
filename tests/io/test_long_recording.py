"""Twenty minutes of events written, converted and sliced in bounded memory, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUM_EVENTS = 200_000_000
"""A fifth of the benchmark's: `python -m benchmarks.long_recording` runs all of it."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("first", "second"), [("evt3", "parquet"), ("parquet", "chunk_rows")])
def test_twenty_minutes_in_a_gigabyte(first: str, second: str, tmp_path: Path) -> None:
    found = run(first, second, NUM_EVENTS, tmp_path)
    assert found[f"peak_mb_after_{second}"] < 1000


@pytest.mark.parametrize(("first", "second"), [("parquet", "chunk_rows")])
def test_a_short_one_goes_the_same_way(first: str, second: str, tmp_path: Path) -> None:
    found = run(first, second, 2_000_000, tmp_path)
    assert found[f"{second}_bytes_per_event"] > found[f"{first}_bytes_per_event"]


def run(first: str, second: str, num_events: int, folder: Path) -> dict[str, float]:
    out = folder / "facts.json"
    command = [sys.executable, "-m", "benchmarks.long_recording", "--events", str(num_events)]
    command += ["--format", first, "--to", second, "--folder", str(folder), "--json", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    found: dict[str, float] = json.loads(out.read_text())
    assert found[f"differing_{first}"] == found[f"differing_{second}"] == 0
    return found
