"""The machine's numbers: this machine's, a GPU tool's lines, and a log that goes on counting."""

import json
import time
from pathlib import Path

from eventsam.tracking.system_usage import local_usage, parse_gpus, watched_usage


def test_this_machine_tells_of_itself() -> None:
    usage = local_usage()
    assert usage["system/system_memory_usage_megabytes"] > 100
    assert 0 < usage["system/system_memory_usage_percentage"] <= 100
    assert usage["system/disk_available_megabytes"] >= 0


def test_gpu_lines_become_numbers_and_gaps_are_left_out() -> None:
    usage = parse_gpus("0, 97, 71680, 143771, 611.20\n1, 3, 10, 143771, [N/A]\nNo devices were found\n")
    assert usage["system/gpu_0_utilization_percentage"] == 97
    assert round(usage["system/gpu_0_memory_usage_percentage"]) == 50
    assert usage["system/gpu_0_memory_usage_megabytes"] == 71680 * 2**20 / 1e6
    assert usage["system/gpu_0_power_usage_watts"] == 611.2
    assert "system/gpu_1_power_usage_watts" not in usage


def test_samples_are_numbered_on_when_a_run_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        with watched_usage(tmp_path, lambda: {"system/a": 1.0}, interval_s=0.05):
            time.sleep(0.12)
    records = [json.loads(line) for line in (tmp_path / "system.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(len(records)))
    assert len(records) >= 4


def test_numbers_that_cannot_be_had_end_nothing(tmp_path: Path) -> None:
    def broken() -> dict[str, float]:
        raise RuntimeError("no numbers today")

    with watched_usage(tmp_path, broken, interval_s=0.02):
        time.sleep(0.05)
    assert not (tmp_path / "system.jsonl").exists()
