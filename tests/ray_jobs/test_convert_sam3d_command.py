"""`eventsam convert sam3d` beside `eventsam convert FILE OUT`."""

from pathlib import Path

import pytest
import torch
from released_checkpoints import SMALL, dino_keys, random_state, released_files, save_files
from typer.testing import CliRunner

from eventsam.events import Events
from eventsam.io.convert import write_events
from ray_jobs.__main__ import app, changed
from ray_jobs.submit import check_command


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        return 2, f"{result.output}{result.exception}"
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_files(tmp_path / "released", released_files())


def test_it_prints_every_key_and_writes_the_folder(folder: Path, tmp_path: Path) -> None:
    code, output = run("convert", "sam3d", "--checkpoint", folder, "--out", tmp_path / "out")
    assert code == 0, output
    assert "ss_decoder.ckpt: input_layer.weight -> decoder: input_layer.weight (24, 8, 3, 3, 3) float16" in output
    assert output.count(" -> ") == sum(len(c.get("state_dict", c)) for c in released_files().values())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "decoder.safetensors", "embedder.safetensors", "encoder.safetensors", "generator.safetensors", "sam3d.json",
    ]  # fmt: skip


def test_a_mismatch_prints_the_report_and_fails(folder: Path, tmp_path: Path) -> None:
    state = torch.load(folder / "ss_decoder.ckpt", weights_only=True)
    state["extra"] = torch.zeros(1)
    torch.save(state, folder / "ss_decoder.ckpt")
    code, output = run("convert", "sam3d", "--checkpoint", folder, "--out", tmp_path / "out")
    assert code == 2 and "ss_decoder.ckpt: decoder: unexpected: extra" in output
    assert "does not fit the model of its sizes: ss_decoder.ckpt (decoder): 1 unexpected: extra" in output
    assert not (tmp_path / "out").exists()


def test_an_encoder_file_is_taken_too(tmp_path: Path) -> None:
    torch.save(random_state(dino_keys("", SMALL), 0), tmp_path / "dinov2.pth")
    code, output = run("convert", "sam3d", "--checkpoint", tmp_path / "dinov2.pth", "--out", tmp_path / "out")
    assert code == 0 and "dinov2.pth: cls_token -> encoder: cls_token (1, 1, 32) float32" in output


def test_recordings_are_converted_as_before(tmp_path: Path) -> None:
    events = Events.from_arrays([3, 1], [0, 1], [10, 20], [1, 0], height=260, width=346)
    write_events(tmp_path / "in.npz", [events], 260, 346)
    assert run("convert", "--to", "evt3", tmp_path / "in.npz", tmp_path / "out.raw")[0] == 0
    assert run("convert", tmp_path / "sam3d", tmp_path / "out.npz")[0] == 2  # a file, whatever its name
    assert run("convert")[0] == 2


def test_help_tells_of_both() -> None:
    code, output = run("convert", "--help")
    assert code == 0 and "--backward" in output and "convert sam3d --help" in output
    code, output = run("convert", "sam3d", "--help")
    assert code == 0 and "--checkpoint" in output and "convert sam3d [OPTIONS]" in output
    assert run("convert", "sam3d")[0] == 2


def test_a_job_that_converts_is_checked_as_what_it_is(tmp_path: Path) -> None:
    from typer.main import get_command

    words = ["convert", "sam3d", "--checkpoint", "weights", "--out", "/shared/model"]
    with pytest.raises(ValueError, match="--checkpoint weights would lie in the job's own folder"):
        check_command(get_command(app), words, None, changed)
    check_command(get_command(app), [*words[:3], "/shared/weights", *words[4:]], None, changed)
