"""A sweep's folder: the truth that survives its driver."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ray_jobs.sweep_store import (
    FAILED,
    FINISHED,
    RUNNING,
    STOPPED,
    SweepFolder,
    TrialState,
    held,
    json_differences,
)


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path / "sweep")
    folder.write_record({"space": {"parameters": {"a": {"choice": ["1", "2"]}}}})
    for number in range(3):
        folder.trial(f"p{number:03d}").write_point({"a": str(number)})
    return folder


def test_states_are_the_trials_own_and_the_journals(folder: SweepFolder) -> None:
    folder.trial("p000").write_state(TrialState(status=FINISHED, values={"a": "0"}, samples=8, score=0.5))
    folder.trial("p001").write_state(TrialState(status=RUNNING, values={"a": "1"}, samples=4, score=0.1))
    folder.decide("p001", STOPPED)
    folder.decide("p000", FAILED, "what ended by itself has ended")
    states = folder.states()
    assert [state.status for state in states.values()] == [FINISHED, STOPPED, "waiting"]
    assert states["p001"].score == 0.1
    assert states["p002"].values == {"a": "2"}


def test_a_decision_that_was_being_written_was_not_made(folder: SweepFolder) -> None:
    folder.decide("p001", STOPPED)
    with (folder.path / "journal.jsonl").open("a") as file:
        file.write('\n{"trial": "p002", "sta')
    assert folder.states()["p002"].status == "waiting"
    folder.decide("p000", STOPPED)
    folder.trial("p001").write_state(TrialState(status=RUNNING))
    assert [state.status for state in folder.states().values()] == [STOPPED, STOPPED, "waiting"]


def test_the_clock_runs_while_drivers_do(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for stamp, name in ((10.0, ""), (14.0, "p000"), (100.0, ""), (103.0, "p001")):
        monkeypatch.setattr("ray_jobs.sweep_store.time.time", lambda stamp=stamp: stamp)
        folder.decide(name, STOPPED) if name else folder.begin()
    assert folder.wall_s() == 7.0


def test_a_point_is_written_once(folder: SweepFolder) -> None:
    folder.trial("p000").write_point({"a": "other"})
    assert folder.trial("p000").read_point() == {"a": "0"}


def test_a_sweep_that_is_not_there_names_its_neighbours(folder: SweepFolder) -> None:
    with pytest.raises(FileNotFoundError, match=r"no sweep in .*other \(sweeps beside it: sweep\)"):
        SweepFolder(folder.path.parent / "other").read_record()


def test_another_release_is_refused(folder: SweepFolder) -> None:
    (folder.path / "sweep.json").write_text(json.dumps({"version": 99}))
    with pytest.raises(ValueError, match="another release"):
        folder.read_record()


def test_a_lock_is_freed_when_its_holder_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom ray_jobs.sweep_store import held\n"
        "with held(Path(sys.argv[1]), 'x', 1.0):\n    print('held', flush=True)\n    time.sleep(100)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=f"the sweep is being worked on by process {holder.pid} on"):  # noqa: SIM117
        with held(tmp_path / "lock", "the sweep", 0.2):
            pass
    holder.kill()
    holder.wait(10)
    holder.stdout.close()
    with held(tmp_path / "lock", "the sweep", 2.0):
        pass


def test_differences_show_the_place() -> None:
    before = {"space": {"a": [1, 2], "b": 3}, "name": "x"}
    after = {"space": {"a": [1, 4], "c": 5}, "name": "x"}
    assert json_differences(before, after) == [
        "space.a: [1, 2] -> [1, 4]",
        "space.b: 3 -> (absent)",
        "space.c: (absent) -> 5",
    ]
