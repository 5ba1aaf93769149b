"""Writing behind the training's back: one at a time, failures told, the storage looked at before the first step."""

import json
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from eventsam import checkpoint
from eventsam.checkpoint import CheckpointWriteError, LocalStorage, Snapshot, State, Writer
from eventsam.optim import AdamW
from eventsam.spec import spec
from eventsam.tasks.task import Task
from eventsam.windows import Window

ROOT = Path(__file__).resolve().parents[2]


class Line(Task):
    """One linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1)


def taken(step: int) -> Snapshot:
    task = Line()
    state = State(step, step * 8, None, spec(Window, length_ms=1.0), "hash", {})
    return checkpoint.snapshot(task, AdamW().create(task, torch.device("cpu")), state)


class SlowStorage(LocalStorage):
    """Waits for leave before it commits."""

    def commit(self, snapshot: Snapshot) -> str:
        assert LEAVE.wait(30)
        return super().commit(snapshot)


LEAVE = threading.Event()


def test_a_snapshot_is_a_copy() -> None:
    task = Line()
    optimizer = AdamW().create(task, torch.device("cpu"))
    before = task.line.weight.detach().clone()
    made = checkpoint.snapshot(task, optimizer, State(1, 8, None, spec(Window, length_ms=1.0), "hash", {}))
    with torch.no_grad():
        task.line.weight.add_(1.0)
    assert torch.equal(made.tensors["model.safetensors"]["line.weight"], before)


def test_training_goes_on_while_one_is_written_and_waits_for_the_next(tmp_path: Path) -> None:
    LEAVE.clear()
    writer = Writer(SlowStorage(tmp_path), keep_last=5)
    writer.submit(taken(1))
    assert writer.last is None
    second = threading.Thread(target=lambda: writer.submit(taken(2)))
    second.start()
    second.join(0.3)
    assert second.is_alive()  # at most one in flight
    LEAVE.set()
    second.join(30)
    writer.join()
    assert writer.last == "step_000000002"
    assert LocalStorage(tmp_path).names() == ["step_000000001", "step_000000002"]


def test_without_writing_behind_it_is_on_the_disk_at_once(tmp_path: Path) -> None:
    Writer(LocalStorage(tmp_path), 1, behind=False).submit(taken(1))
    assert checkpoint.latest(tmp_path) is not None


def test_a_storage_that_cannot_be_written_is_found_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writer = Writer(LocalStorage(tmp_path / "file" / "checkpoints"), 1)
    writer.start(10, None)
    assert isinstance(writer.error, CheckpointWriteError)
    assert "file/checkpoints" in str(writer.error)


def test_a_storage_without_room_is_found_before_the_start(tmp_path: Path) -> None:
    num_bytes = shutil.disk_usage(tmp_path).total + 1
    with pytest.raises(CheckpointWriteError, match=r"MiB left, a checkpoint of this run takes about \d+ MiB"):
        LocalStorage(tmp_path).probe(num_bytes)
    assert list(tmp_path.iterdir()) == []


def test_the_start_mends_the_pointer_that_a_kill_left_behind(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    first, second = storage.commit(taken(1)), storage.commit(taken(2))
    storage.point(first, {"step": 1, "viou": 0.5})
    (tmp_path / ".step_000000003.dead.partial").mkdir()
    Writer(storage, 1).start(0, {"step": 2, "viou": 0.7})
    assert storage.best() == second
    assert json.loads((tmp_path / "best.json").read_text()) == {"checkpoint": second, "step": 2, "viou": 0.7}
    assert not list(tmp_path.glob(".*"))


def test_the_best_checkpoint_that_is_damaged_gives_way_to_the_newest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = LocalStorage(tmp_path)
    first, second = storage.commit(taken(1)), storage.commit(taken(2))
    storage.point(first, {})
    assert checkpoint.chosen(tmp_path) == tmp_path / first
    (tmp_path / first / "model.safetensors").write_bytes(b"torn")
    assert checkpoint.chosen(tmp_path) == tmp_path / second
    assert "the best checkpoint step_000000001" in caplog.text


def test_another_folder_is_linked_from_the_runs_own(tmp_path: Path) -> None:
    own, other = tmp_path / "run" / "checkpoints", tmp_path / "shared"
    location = checkpoint.place(own, str(other))
    assert location == str(other)
    checkpoint.open_storage(location, own).commit(taken(1))
    assert checkpoint.latest(own) is not None
    assert checkpoint.place(own) == str(other)
    with pytest.raises(ValueError, match=r"keeps its checkpoints in .*shared, not in .*elsewhere"):
        checkpoint.place(own, str(tmp_path / "elsewhere"))


def test_a_run_that_began_in_its_own_folder_stays_there(tmp_path: Path) -> None:
    own = tmp_path / "run" / "checkpoints"
    LocalStorage(own).commit(taken(1))
    assert checkpoint.place(own) == str(own)
    with pytest.raises(ValueError, match="keeps its checkpoints in"):
        checkpoint.place(own, str(tmp_path / "shared"))


def test_an_unknown_scheme_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown scheme of 's33://a/b': 's33'; did you mean 's3'"):
        checkpoint.open_storage("s33://a/b", tmp_path)


FILL = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_engine import BUDGET, LocalRun, Regress, run_fit
import torch
from eventsam.checkpoint import CheckpointWriteError, latest
from eventsam.engine import Budget

class Wide(Regress):
    def __init__(self):
        super().__init__()
        self.more = torch.nn.Parameter(torch.zeros(40_000))

root = Path({root!r})
budget = Budget(num_samples=960, global_batch_size=8, log_every=1, checkpoint_every=1, keep_last=1000)
try:
    run_fit(root, budget, task=Wide(), run=LocalRun(root))
except CheckpointWriteError as error:
    print(error)
    print(latest(root).name)
    print(sorted(p.name for p in root.glob(".*")))
"""


def test_a_write_that_breaks_off_keeps_the_last_good_one_and_says_so(tmp_path: Path) -> None:
    """The system ends files at 2 KiB, as a quota would; the pieces of the broken one are gone."""
    writer = Writer(LocalStorage(tmp_path), keep_last=5)
    writer.submit(taken(1))
    writer.join()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        snapshot = taken(2)
        wide = {"model.safetensors": {"wide": torch.zeros(4096)}, "optimizer.safetensors": {}}
        writer.submit(Snapshot(2, wide, snapshot.record))
        writer.join()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(writer.error, CheckpointWriteError)
    assert "the checkpoint of step 2 could not be written" in str(writer.error)
    assert "The last good checkpoint is step_000000001" in str(writer.error)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000001"]
    writer.submit(taken(3))  # nothing more is written
    writer.join()
    assert LocalStorage(tmp_path).names() == ["step_000000001"]


@pytest.mark.slow
def test_a_storage_that_fills_up_keeps_the_last_good_one_and_says_so(tmp_path: Path) -> None:
    """A real full disk: a tmpfs of 3 MiB in a name space of its own, for checkpoints of 0.5 MiB each."""
    root = tmp_path / "small"
    root.mkdir()
    code = FILL.format(tests=str(ROOT / "tests"), root=str(root))
    mount = f"mount -t tmpfs -o size=3m none {root} && exec {sys.executable} -c '$CODE'"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount.replace("'$CODE'", '"$CODE"')]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd=ROOT, env={"CODE": code, "PATH": "/usr/bin:/bin"}
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if "unshare" in result.stderr or "mount" in result.stderr:
        pytest.skip(f"no file system of one's own here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    message, last, leftovers = result.stdout.strip().splitlines()
    assert "could not be written" in message
    assert "No space left on device" in message
    assert f"The last good checkpoint is {last}" in message
    assert leftovers == "[]"
