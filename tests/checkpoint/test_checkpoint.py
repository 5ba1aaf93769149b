"""Checkpoints: whole or absent, strict, and only ever of their own recipe."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from eventsam import checkpoint
from eventsam.checkpoint.tensor_file import pieces
from eventsam.optim import AdamW
from eventsam.spec import Spec, spec
from eventsam.tasks.task import Task
from eventsam.windows import Window


class Line(Task):
    """One linear layer."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.line = nn.Linear(width, 1)


def recipe(length_ms: float = 10.0) -> Spec:
    return spec(Window, length_ms=length_ms)  # type: ignore[return-value]


def saved(root: Path, step: int = 1, task: Task | None = None) -> Path:
    task = task or Line()
    optimizer = AdamW().create(task, torch.device("cpu"))
    task.line(torch.ones(1, 3)).sum().backward()  # type: ignore[union-attr, operator]
    optimizer.step()
    return checkpoint.save(root, task, optimizer, checkpoint.State(step, step * 8, 0.5, recipe(), "hash", {"m": 1.0}))


def restored(folder: Path, spec_: Spec, catalog_hash: str = "hash") -> checkpoint.State:
    task = Line()
    return checkpoint.restore(folder, task, AdamW().create(task, torch.device("cpu")), spec_, catalog_hash)


def test_state_round_trips(tmp_path: Path) -> None:
    state = restored(saved(tmp_path), recipe())
    assert (state.step, state.position, state.best, state.metrics) == (1, 8, 0.5, {"m": 1.0})


def test_weights_and_moments_round_trip(tmp_path: Path) -> None:
    task = Line()
    folder = saved(tmp_path, task=task)
    other = Line()
    optimizer = AdamW().create(other, torch.device("cpu"))
    checkpoint.restore(folder, other, optimizer, recipe(), "hash")
    assert torch.equal(task.line.weight, other.line.weight)
    assert torch.equal(optimizer.state[other.line.weight]["exp_avg"], torch.full((1, 3), 0.1))


def test_files_are_the_three_and_no_pickle(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(checkpoint.FILES)
    json.loads((folder / "state.json").read_text())


@pytest.mark.parametrize("victim", checkpoint.FILES)
def test_a_torn_checkpoint_is_passed_over_with_a_message(
    tmp_path: Path, victim: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = saved(tmp_path, 1), saved(tmp_path, 2)
    (second / victim).write_bytes((second / victim).read_bytes()[:10])
    assert checkpoint.latest(tmp_path) == first
    assert "step_000000002 is damaged" in caplog.text


@pytest.mark.parametrize("victim", checkpoint.FILES)
def test_a_file_that_is_gone_is_named(tmp_path: Path, victim: str, caplog: pytest.LogCaptureFixture) -> None:
    first, second = saved(tmp_path, 1), saved(tmp_path, 2)
    (second / victim).unlink()
    assert checkpoint.latest(tmp_path) == first
    assert f"{victim} is missing" in caplog.text


def test_a_flipped_bit_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = saved(tmp_path, 1), saved(tmp_path, 2)
    content = bytearray((second / "optimizer.safetensors").read_bytes())
    content[-1] ^= 1
    (second / "optimizer.safetensors").write_bytes(content)
    assert checkpoint.latest(tmp_path) == first
    assert "the content of optimizer.safetensors is not what was written" in caplog.text


def test_the_first_versions_checkpoints_are_read(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    record = json.loads((folder / "state.json").read_text())
    for name in ("files", "best_step", "validated_step", "num_workers", "code_hash"):
        del record[name]
    (folder / "state.json").write_text(json.dumps({**record, "version": 1}))
    assert checkpoint.latest(tmp_path) == folder
    assert restored(folder, recipe()).step == 1
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1])
    assert checkpoint.latest(tmp_path) is None


def test_a_step_saved_again_replaces_what_was_there(tmp_path: Path) -> None:
    first, second = saved(tmp_path), saved(tmp_path)
    assert first != second
    assert checkpoint.latest(tmp_path) == second
    (second / "state.json").write_text("{")
    assert saved(tmp_path) == second


def test_a_partial_folder_is_no_checkpoint(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    folder.rename(folder.with_name(f".{folder.name}.partial"))
    assert checkpoint.latest(tmp_path) is None


def test_another_recipe_is_refused_with_the_difference(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"another recipe:\n  length_ms: 10.0 -> 20.0"):
        restored(saved(tmp_path), recipe(20.0))


def test_another_catalog_is_refused_with_both_hashes_unless_accepted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path)
    with pytest.raises(ValueError, match=r"trained on catalog hash, the catalog now is other\. .*--accept-new-catalog"):
        restored(folder, recipe(), "other")
    task = Line()
    optimizer = AdamW().create(task, torch.device("cpu"))
    state = checkpoint.restore(folder, task, optimizer, recipe(), "other", accept_new_catalog=True)
    assert state.position == 8
    assert "trained on catalog hash, the catalog now is other" in caplog.text


def test_other_code_is_warned_of_with_both_hashes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(tmp_path)
    record = json.loads((folder / "state.json").read_text())
    restored(folder, recipe())
    assert "written by code" not in caplog.text
    (folder / "state.json").write_text(json.dumps({**record, "code_hash": "0123456789ab"}))
    restored(folder, recipe())
    assert f"written by code 0123456789ab, this is code {record['code_hash']}" in caplog.text


def test_other_shapes_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line.weight has shape \(1, 3\), expected \(1, 5\)"):
        checkpoint.load_task(saved(tmp_path), Line(5))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    record = json.loads((folder / "state.json").read_text()) | {"version": 99}
    (folder / "state.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="version 99, this release reads 1 and 2"):
        checkpoint.read_state(folder)


def test_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        checkpoint.read_state(tmp_path)


def test_old_ones_go_and_the_best_stays(tmp_path: Path) -> None:
    folders = [saved(tmp_path, step) for step in range(1, 6)]
    storage = checkpoint.LocalStorage(tmp_path)
    storage.point(folders[1].name, {"m": 1.0})
    storage.keep(2)
    assert sorted(tmp_path.glob("step_*")) == [folders[1], folders[3], folders[4]]


def test_any_tensors_are_a_file_that_safetensors_reads() -> None:
    tensors = {
        "half": torch.arange(6).reshape(2, 3).to(torch.bfloat16), "scalar": torch.tensor(1.5),
        "none": torch.empty(0, 4),
        "turned": torch.arange(12.0).reshape(3, 4).T, "flags": torch.tensor([True, False, True]),
        "ä": torch.arange(3, dtype=torch.uint8), "long": torch.tensor([2**40]),
    }  # fmt: skip
    read = safetensors.torch.load(b"".join(bytes(piece) for piece in pieces(tensors)))
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_a_dtype_without_a_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r"z is torch\.complex64"):
        list(pieces({"z": torch.zeros(1, dtype=torch.complex64)}))
