"""The hang watchdog on real processes: one that sleeps, one that holds Python's lock, one that is only slow."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eventsam.faults.hang_watch import FOLDER, HANG_EXIT_CODE, HangWatch

WORKER = """
import ctypes, sys, time
from pathlib import Path
from eventsam.faults.hang_watch import HangWatch

run, rank, behaviour = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def stuck_here():
    time.sleep(60)

def write(reason):
    import faulthandler
    if behaviour == "full":
        raise OSError(28, "No space left on device")
    bundle = run / "failures" / "hang"
    bundle.mkdir(parents=True, exist_ok=True)
    with (bundle / f"rank_{rank}.stacks.txt").open("w") as file:
        faulthandler.dump_traceback(file, all_threads=True)
    (bundle / f"rank_{rank}.reason").write_text(reason)
    return bundle

with HangWatch(run, rank, 2, 1.5, write) as watch:
    for step in range(20):
        watch.beat()
        time.sleep(0.3)
        if step == 3 and behaviour in ("stuck", "full"):
            stuck_here()
        if step == 3 and behaviour == "locked":
            ctypes.PyDLL(None).sleep(60)  # keeps Python's lock, as a broken extension does
        if behaviour == "short" and step == 3:
            break
print("ended")
"""


def start(run: Path, rank: int, behaviour: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(run), str(rank), behaviour],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def ended(workers: list[subprocess.Popen[str]]) -> list[int]:
    for worker in workers:
        worker.communicate(timeout=40)
    return [worker.returncode for worker in workers]


@pytest.mark.timeout(60)
def test_a_stuck_worker_ends_all_with_their_stacks(tmp_path: Path) -> None:
    started = time.monotonic()
    assert ended([start(tmp_path, 0, "well"), start(tmp_path, 1, "stuck")]) == [HANG_EXIT_CODE] * 2
    assert time.monotonic() - started < 30
    bundle = tmp_path / "failures" / "hang"
    assert "stuck_here" in (bundle / "rank_1.stacks.txt").read_text()
    assert "worker 1 of 2 has finished no step for" in (bundle / "rank_0.reason").read_text()
    assert len(list(bundle.glob("rank_*.stacks.txt"))) == 2


@pytest.mark.timeout(60)
def test_a_stuck_worker_ends_although_its_bundle_cannot_be_written(tmp_path: Path) -> None:
    assert ended([start(tmp_path, 1, "full")]) == [HANG_EXIT_CODE]


def test_a_folder_that_cannot_be_used_for_a_moment_does_not_end_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str] = []

    def write(reason: str) -> Path:
        reasons.append(reason)
        return tmp_path

    def away(watch: HangWatch) -> None:
        monkeypatch.undo()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(HangWatch, "_tell", away)
    with HangWatch(tmp_path, 0, 1, 0.3, write, exits=False):
        deadline = time.monotonic() + 10
        while not reasons and time.monotonic() < deadline:
            time.sleep(0.05)
    assert "worker 0 of 1" in reasons[0]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_worker_that_holds_pythons_lock_is_ended_too(tmp_path: Path) -> None:
    codes = ended([start(tmp_path, 0, "well"), start(tmp_path, 1, "locked")])
    assert codes[0] == HANG_EXIT_CODE
    assert codes[1] not in (0, HANG_EXIT_CODE)
    assert "line" in (tmp_path / FOLDER / "rank_1.stacks.txt").read_text()


@pytest.mark.timeout(60)
def test_slow_workers_and_those_that_are_done_are_no_hang(tmp_path: Path) -> None:
    assert ended([start(tmp_path, 0, "well"), start(tmp_path, 1, "short")]) == [0, 0]
    assert not (tmp_path / "failures").exists()


def test_a_run_in_this_process_is_told_of_and_left_alone(tmp_path: Path) -> None:
    reasons: list[str] = []

    def write(reason: str) -> Path:
        reasons.append(reason)
        return tmp_path

    with HangWatch(tmp_path, 0, 1, 0.3, write, exits=False):
        deadline = time.monotonic() + 10
        while not reasons and time.monotonic() < deadline:
            time.sleep(0.05)
    assert "worker 0 of 1" in reasons[0]
    assert os.getpid()


def test_an_old_notice_does_not_end_a_new_start(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "hang.json").write_text('{"reason": "old"}')
    with HangWatch(tmp_path, 0, 1, 5.0, lambda reason: pytest.fail(reason), exits=False):
        time.sleep(1.2)
