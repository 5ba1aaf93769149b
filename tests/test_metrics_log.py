"""The log that is the truth: later records win, half-written lines wait, torn ones are passed over."""

import logging
from pathlib import Path

import pytest

from eventsam.metrics_log import MetricsLog, records_from


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


def test_a_line_torn_by_a_kill_is_passed_over_and_spoils_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    log.append({"step": 1, "loss": 3.0})
    with log.path.open("a") as file:
        file.write('{"step": 2, "lo')
    log.append({"step": 2, "loss": 2.0})
    with caplog.at_level(logging.WARNING):
        assert [record["step"] for record in log.read()] == [1, 2]
    assert "the line at byte" in caplog.text
    with log.path.open("a") as file:
        file.write("[1]\n")
    newest = log.newest()
    assert newest is not None
    assert newest["step"] == 2


def test_offsets_lead_to_the_rest(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    for step in range(4):
        log.append({"step": step})
    offsets = [offset for offset, _ in records_from(log.path, 0)]
    assert [record["step"] for _, record in records_from(log.path, offsets[1])] == [2, 3]
    assert offsets[-1] == log.path.stat().st_size
