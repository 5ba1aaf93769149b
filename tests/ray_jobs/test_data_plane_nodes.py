"""Reading on one node, training on the other: a real Ray of two nodes in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[1] / "support"
SAMPLES_PER_BLOCK = 128


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(240)
def test_samples_are_read_where_the_label_says_and_no_further_ahead_than_the_store_allows(tmp_path: Path) -> None:
    command = [sys.executable, str(SUPPORT / "two_nodes.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["trainer"] == "trainer"
    assert result["taken"] == 16 * SAMPLES_PER_BLOCK
    # The trainers' node looks at one sample to know how large blocks are; it reads no more.
    assert result["read"]["reader"] == result["taken"]
    assert result["read"].get("trainer", 0) <= 1
    # 4 MiB are less than three blocks; some are on their way to the trainer, where they no longer count.
    assert SAMPLES_PER_BLOCK <= result["ahead"] <= 7 * SAMPLES_PER_BLOCK
    assert result["lines"][0] == "reading on 1 nodes (ray-subcluster=reader): 2 CPUs, at most 1 blocks at once"
