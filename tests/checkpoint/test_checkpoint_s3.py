"""Checkpoints in a bucket of a local S3 server that may fail at any request."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("moto.server", reason="moto is among the development requirements")
import s3_server
from s3_server import Server

from eventsam import checkpoint
from eventsam.checkpoint import CheckpointWriteError, Snapshot, State, Writer
from eventsam.checkpoint.local import damage
from eventsam.checkpoint.s3 import S3Storage, open_s3
from eventsam.optim import AdamW
from eventsam.spec import spec
from eventsam.tasks.task import Task
from eventsam.windows import Window


class Line(Task):
    """One linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 1)


def taken(step: int, value: float = 1.0) -> Snapshot:
    task = Line()
    nn.init.constant_(task.line.weight, value)
    state = State(step, step * 8, value, spec(Window, length_ms=1.0), "hash", {}, best_step=step)
    return checkpoint.snapshot(task, AdamW().create(task, torch.device("cpu")), state)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.ENVIRONMENT.items():
            patch.setenv(name, value)
        with s3_server.serving() as served:
            yield served


def opened(server: Server, cache: Path, prefix: str) -> S3Storage:
    return open_s3(server.url(prefix), cache)


@pytest.fixture
def storage(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[S3Storage]:
    yield opened(server, tmp_path / "cache", f"runs/{request.node.name}")
    server.shut_at = None


def value_of(folder: Path) -> float:
    task = Line()
    checkpoint.load_task(folder, task)
    return float(task.line.weight.detach()[0, 0])


def test_what_was_uploaded_comes_back(storage: S3Storage, tmp_path: Path) -> None:
    assert storage.newest() is None
    assert storage.commit(taken(1, 2.0)) == "step_000000001"
    again = S3Storage(storage.url, tmp_path / "elsewhere", storage.files, storage.prefix)
    name = again.newest()
    assert name == "step_000000001"
    assert again.state(name).position == 8
    assert value_of(again.fetch(name)) == 2.0
    assert again.fetch(name) == tmp_path / "elsewhere" / name  # the second time from the cache


def test_large_files_go_up_in_parts(storage: S3Storage, server: Server) -> None:
    snapshot = taken(1)
    big = torch.arange(6 * 2**20, dtype=torch.float32)
    tensors = {**snapshot.tensors, "model.safetensors": {"big": big}}
    server.seen.clear()
    name = storage.commit(Snapshot(1, tensors, snapshot.record))
    assert storage.newest() == name
    assert damage(storage.fetch(name)) is None
    assert any(entry.startswith("POST") for entry in server.seen)  # a multipart upload


def test_last_and_best_are_kept(storage: S3Storage) -> None:
    writer = Writer(storage, keep_last=2)
    for step in range(1, 6):
        writer.submit(taken(step, float(step)), {"step": step} if step <= 2 else None)
    writer.join()
    assert writer.error is None
    assert storage.names() == ["step_000000002", "step_000000004", "step_000000005"]
    assert storage.best() == "step_000000002"
    data = [path for path in storage._list(storage.prefix) if "/committed/" not in path]
    assert len(data) == 3 * 3 + 1
    storage.mirror()
    assert checkpoint.chosen(storage.cache) == storage.cache / "step_000000002"
    assert checkpoint.latest(storage.cache) == storage.cache / "step_000000005"


def test_a_step_saved_again_replaces_the_one_before(storage: S3Storage) -> None:
    storage.commit(taken(1, 1.0))
    storage.fetch("step_000000001")
    storage.commit(taken(1, 3.0))
    assert value_of(storage.fetch("step_000000001")) == 3.0
    assert len(storage._list(storage.prefix)) == 4


@pytest.mark.parametrize(
    ("step", "stride"),
    [
        pytest.param(2, 4, id="every fourth request"),
        pytest.param(2, 1, id="a new step", marks=pytest.mark.slow),
        pytest.param(1, 1, id="the same step again", marks=pytest.mark.slow),
    ],
)
def test_an_upload_cut_at_any_request_leaves_old_or_new_whole(
    server: Server, tmp_path: Path, step: int, stride: int
) -> None:
    cut_short = 0
    for number in range(1, 60, stride):
        storage = opened(server, tmp_path / str(number), f"runs/cut-{step}-{stride}-{number}")
        storage.commit(taken(1, 1.0))
        server.num_requests, server.shut_at = 0, number
        writer = Writer(storage, keep_last=1, behind=False, last="step_000000001")
        writer._write(taken(step, 5.0), {"step": step})
        server.shut_at = None
        name = storage.newest()
        assert name is not None
        found = (storage.state(name).step, value_of(storage.fetch(name)))
        assert found in ((1, 1.0), (step, 5.0)), number
        # The next start cleans up, and saves again.
        again = Writer(storage, keep_last=1, behind=False)
        again.start(0, {"step": found[0]})
        again.submit(taken(3, 7.0), {"step": 3})
        assert again.error is None
        assert storage.names() == ["step_000000003"]
        data = {Path(path).parent.name for path in storage._list(storage.prefix) if path.endswith("safetensors")}
        assert len(data) == 1
        if writer.error is None:
            break
        cut_short += 1
        assert f"The last good checkpoint is step_00000000{found[0]}" in str(writer.error)
    assert cut_short > 20 // stride
    assert writer.error is None


def test_a_checkpoint_whose_data_are_gone_is_passed_over(storage: S3Storage, caplog: pytest.LogCaptureFixture) -> None:
    storage.commit(taken(1))
    storage.commit(taken(2))
    (path,) = [p for p in storage._list(storage.prefix) if "step_000000002-" in p and p.endswith("model.safetensors")]
    storage.files.delete_file(path)
    assert storage.newest() == "step_000000001"
    assert "step_000000002" in caplog.text
    assert "model.safetensors is missing" in caplog.text
    with storage.files.open_output_stream(path) as stream:
        stream.write(b"short")
    assert storage.newest() == "step_000000001"
    assert "model.safetensors has 5 of" in caplog.text


def test_a_bucket_that_cannot_be_written_is_found_before_the_start(server: Server, tmp_path: Path) -> None:
    storage = opened(server, tmp_path, "runs/refused")
    server.num_requests, server.shut_at = 0, 1
    with pytest.raises(CheckpointWriteError, match=r"cannot be written to s3://bucket/runs/refused.*"):
        storage.probe(0)
    server.shut_at = None
    with pytest.raises(CheckpointWriteError):
        open_s3(server.url("runs").replace("bucket", "no-such-bucket"), tmp_path).probe(0)


def test_urls_are_checked(tmp_path: Path) -> None:
    for url, message in (
        ("s3://bucket", "must name a bucket and a prefix"),
        ("s3://key:secret@bucket/runs?region=x", "keys do not belong into a URL"),
        ("s3://bucket/runs?endpoint=x", "did you mean 'endpoint_override'"),
    ):
        with pytest.raises(ValueError, match=message) as refused:
            checkpoint.open_storage(url, tmp_path)
        assert "secret" not in str(refused.value)


def test_a_run_notes_its_url(server: Server, tmp_path: Path) -> None:
    own, url = tmp_path / "run" / "checkpoints", server.url("runs/noted")
    assert checkpoint.place(own, url) == url
    assert checkpoint.place(own) == url
    checkpoint.open_storage(url, own).commit(taken(1, 4.0))
    found = checkpoint.chosen(own)
    assert found == own / "step_000000001"
    assert value_of(found) == 4.0
    with pytest.raises(ValueError, match="keeps its checkpoints in s3://"):
        checkpoint.place(own, str(tmp_path / "shared"))
